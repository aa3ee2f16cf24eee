import fc from 'fast-check';
import t from 'tap';
import { canonicalHost } from '../../../src/catalog/host.ts';
import { children, decode, encode, type Node } from '../../../src/vault/authorities/der.ts';
import { generalName, nameConstraints } from '../../../src/vault/authorities/names.ts';

const DNS = 2;

function read(name: Node | undefined): string {
  if (typeof name?.value !== 'string') throw new Error('a GeneralName holds bytes');
  return name.type === DNS ? name.value : Buffer.from(name.value, 'latin1').toString('hex');
}

/** What the constraints permit and exclude: names as text, addresses and masks as hex. */
function constraints(patterns: readonly string[]): { permitted: string[]; excluded: string[] } {
  const lists = children(decode(encode(nameConstraints(patterns))));
  const list = (tag: number): string[] => {
    const subtrees = lists.find(({ type }) => Number(type) === tag);
    return subtrees ? children(subtrees).map((subtree) => read(children(subtree)[0])) : [];
  };
  return { permitted: list(0), excluded: list(1) };
}

const v4 = '7f000001ffffffff';
const v6 = `20010db8${'0'.repeat(22)}01${'f'.repeat(32)}`;
const everything = ['0'.repeat(16), '0'.repeat(64)];
const noV4 = 'c0000200ffffffff';
const noV6 = `0100${'0'.repeat(28)}${'f'.repeat(32)}`;

t.test('names are permitted as subtrees, addresses excluded', async (t) => {
  t.same(constraints(['api.acme.example', '*.w.example', '**.d.example']), {
    permitted: ['api.acme.example', 'w.example', 'd.example'],
    excluded: everything,
  });
});

t.test('granted addresses are permitted exactly, and every other kind of name leads nowhere', async (t) => {
  t.same(constraints(['127.0.0.1']), { permitted: ['none.invalid', v4, noV6], excluded: [] });
  t.same(constraints(['2001:db8::1']), { permitted: ['none.invalid', noV4, v6], excluded: [] });
  t.same(constraints(['2001:db8::1', 'a.example', '127.0.0.1']), {
    permitted: ['a.example', v4, v6],
    excluded: [],
  });
  t.same(constraints([]), { permitted: ['none.invalid'], excluded: everything });
});

t.test('a name under another, or twice, is not repeated', async (t) => {
  const given = ['a.x.example', '*.x.example', '**.x.example', 'x.example', 'b.a.x.example', 'ax.example'];
  t.same(constraints(given).permitted, ['x.example', 'ax.example']);
});

t.test('every pattern lies within what is permitted', async () => {
  const name = fc.stringMatching(/^[a-c](?:\.[a-c]){0,3}\.example$/);
  const pattern = fc.tuple(fc.constantFrom('', '*.', '**.'), name).map(([stars, host]) => stars + host);
  fc.assert(
    fc.property(fc.array(pattern, { minLength: 1 }), (patterns) => {
      const { permitted } = constraints(patterns);
      const covered = (host: string): boolean => permitted.some((base) => `.${host}`.endsWith(`.${base}`));
      const granted = (base: string): boolean => patterns.some((each) => each.replace(/^\*+\./, '') === base);
      return patterns.every((each) => covered(each.replace(/^\*+\./, ''))) && permitted.every(granted);
    }),
  );
});

t.test('an address is written in its bytes', async () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const host = canonicalHost(text);
      if (host === null) return false;
      const hex = read(generalName(host));
      const back =
        hex.length === 8
          ? hex
              .match(/../g)
              ?.map((byte) => Number.parseInt(byte, 16))
              .join('.')
          : hex.match(/..../g)?.join(':');
      return back !== undefined && canonicalHost(back) === host;
    }),
  );
});
