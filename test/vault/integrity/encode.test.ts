import fc from 'fast-check';
import t from 'tap';
import type { PolicyRow } from '../../../src/store/schema.ts';
import { decodeAnchor, encodeAnchor } from '../../../src/vault/integrity/anchor.ts';
import { StateDigest } from '../../../src/vault/integrity/digest.ts';
import { encodeRow } from '../../../src/vault/integrity/encode.ts';
import { compare, describeFailures } from '../../../src/vault/integrity/verify.ts';

const bytes = fc.uint8Array({ maxLength: 8 }).map((of) => Buffer.from(of));
const agent: fc.Arbitrary<PolicyRow> = fc
  .record({
    id: fc.string({ maxLength: 4 }),
    name: fc.string({ maxLength: 4 }),
    token_hash: fc.option(bytes),
    root_certificate: fc.option(bytes),
    root_key_sealed: fc.option(bytes),
    root_key_dek: fc.option(bytes),
    root_key_kek: fc.option(fc.string({ maxLength: 4 })),
    unlisted: fc.option(fc.constant('tunnel' as const)),
    root_number: fc.option(fc.nat(3)),
    old_root_certificate: fc.option(bytes),
    old_root_key_sealed: fc.option(bytes),
    old_root_key_dek: fc.option(bytes),
    old_root_key_kek: fc.option(fc.string({ maxLength: 4 })),
    created_at: fc.string({ maxLength: 4 }),
    removed_at: fc.option(fc.string({ maxLength: 4 })),
    generation: fc.nat(3),
    mac: bytes,
  })
  .map((row) => ({ table: 'agents', row }));

t.test('a row is encoded as described', async (t) => {
  const row = {
    id: 'crd_1',
    service: 's',
    label: 'é',
    current_version: 258,
    public_fields: '{}',
    created_at: 'c',
  };
  const encoded = encodeRow({
    table: 'credentials',
    row: { ...row, removed_at: null, generation: 1, mac: Buffer.from('not encoded') },
  });
  const text = (of: string): string =>
    `${String.fromCharCode(0, 0, 0, Buffer.byteLength(of))}${Buffer.from(of).toString('latin1')}`;
  const expected = [
    text('sallyport row v1'),
    text('credentials'),
    `${text('created_at')}\x02${text('c')}`,
    `${text('current_version')}\x01\0\0\0\0\0\0\x01\x02`,
    `${text('generation')}\x01\0\0\0\0\0\0\0\x01`,
    `${text('id')}\x02${text('crd_1')}`,
    `${text('label')}\x02${text('é')}`,
    `${text('public_fields')}\x02${text('{}')}`,
    `${text('removed_at')}\x00`,
    `${text('service')}\x02${text('s')}`,
  ];
  t.equal(encoded.toString('latin1'), expected.join(''));
});

t.test('a column that came later changes nothing for rows from before', async (t) => {
  const [a] = fc.sample(agent, 1);
  if (a?.table !== 'agents') throw new Error('no sample');
  const before = encodeRow({ ...a, row: { ...a.row, unlisted: null } });
  t.notOk(before.includes('unlisted'));
  t.ok(encodeRow({ ...a, row: { ...a.row, unlisted: 'tunnel' } }).includes('unlisted'));
});

t.test('two rows have one encoding only where they are one row', async (t) => {
  const plain = ({ row }: PolicyRow): string => JSON.stringify({ ...row, mac: null });
  fc.assert(
    fc.property(agent, agent, (a, b) => encodeRow(a).equals(encodeRow(b)) === (plain(a) === plain(b))),
    { numRuns: 500 },
  );
  const [a] = fc.sample(agent, 1);
  if (a?.table !== 'agents') throw new Error('no sample');
  const nulled = { ...a, row: { ...a.row, root_key_kek: null } };
  const emptied = { ...a, row: { ...a.row, root_key_kek: '' } };
  t.notSame(encodeRow(nulled), encodeRow(emptied), 'nothing is not an empty text');
});

t.test("the state's digest is what its description says", async (t) => {
  const digest = new StateDigest();
  t.equal(
    digest.preview(0).toString('hex'),
    'a8655da25755a08c6ad122f399881b738cee10270b695f5d8b2467c116467a80',
  );
  digest.put([
    ['agents/agt_1', Buffer.alloc(32, 1)],
    ['grants/grt_1', Buffer.alloc(32, 2)],
  ]);
  t.equal(
    digest.preview(7).toString('hex'),
    '4bf69f5f1a6bb87aa0bc6f3b6a96b62e0db65da97bb653fc7a46a748f4873e59',
  );
  t.notSame(digest.preview(8), digest.preview(7), 'the counter counts');
});

t.test('the digest depends on the set of rows, not on how it came about', async () => {
  const pairs = fc.uniqueArray(
    fc.tuple(
      fc.string(),
      fc.uint8Array({ minLength: 32, maxLength: 32 }).map((of) => Buffer.from(of)),
    ),
    { selector: ([key]) => key, minLength: 1, maxLength: 40 },
  );
  fc.assert(
    fc.property(pairs, fc.nat(), (all, cut) => {
      const once = new StateDigest();
      once.put(all);
      const twice = new StateDigest();
      const some = [...all].reverse().slice(0, cut % all.length);
      twice.put(some.map(([key]) => [key, Buffer.alloc(32)])); // replaced below
      const previewed = twice.preview(1, all);
      twice.put(all);
      const less = new StateDigest();
      less.put(all.slice(1));
      return (
        once.preview(1).equals(twice.preview(1)) &&
        once.preview(1).equals(previewed) &&
        !once.preview(1).equals(less.preview(1))
      );
    }),
  );
});

t.test('an anchor is read back, and nothing else is taken for one', async (t) => {
  const state = { counter: 7, digest: 'ab'.repeat(32) };
  t.same(decodeAnchor(encodeAnchor(state)), state);
  fc.assert(fc.property(fc.uint8Array(), (of) => decodeAnchor(Buffer.from(of)) === undefined));
  for (const text of [
    '{}',
    'null',
    '{"format":2,"state":{}}',
    JSON.stringify({ format: 1, state, more: 1 }),
  ]) {
    t.equal(decodeAnchor(Buffer.from(text)), undefined, text);
  }
});

t.test('differing rows are named, each with what was done to it', async (t) => {
  const row = { created_at: '', removed_at: null, generation: 1, mac: Buffer.alloc(32) };
  const grant = {
    ...row,
    id: 'grt_1',
    agent: 'a',
    service: 's',
    credential: 'c',
    methods: '[]',
    paths: '[]',
  };
  const none = {
    agents: [],
    authorities: [],
    services: [],
    credentials: [],
    credential_versions: [],
    grants: [],
  };
  const version = {
    ...row,
    credential: 'c',
    version: 2,
    secret_fields: '[]',
    sealed: null,
    dek: null,
    kek: null,
    ...{ first_kek: null, public_fields: null, destinations: null, hsm_key: null },
  };
  t.same(compare({ ...none, grants: [grant] }, { ...none, grants: [{ ...grant }] }), []);
  const found = compare(
    { ...none, grants: [grant], credential_versions: [version] },
    {
      ...none,
      grants: [
        { ...grant, methods: '["GET"]' },
        { ...grant, id: 'grt_2' },
      ],
    },
  );
  t.same(
    found.map(({ table, id, reason }) => `${table} ${id} ${reason.split(' by ')[0]}`),
    ['grants grt_1 was changed', 'grants grt_2 was inserted', 'credential_versions c/2 was deleted'],
  );
  t.match(describeFailures(found), /^The row grt_1 of grants was changed by somebody else \(and 2 more\)\. /);
  const withMac = compare(
    { ...none, grants: [grant] },
    { ...none, grants: [{ ...grant, mac: Buffer.alloc(32, 1) }] },
  );
  t.equal(withMac.length, 1, 'a MAC alone is a change too');
});
