import fc from 'fast-check';
import t from 'tap';
import { Scrubber, type Where } from '../../../src/proxy/scrub/scrubber.ts';

const latin1 = (text: string) => Buffer.from(text, 'latin1');

function scrub(head: string, ...secrets: string[]): { text: string; hits: number; heard: [Where, number][] } {
  const heard: [Where, number][] = [];
  const scrubber = new Scrubber(secrets.map(latin1), (where, count) => heard.push([where, count]));
  const bytes = latin1(head);
  const hits = scrubber.scrubHead(bytes);
  return { text: bytes.toString('latin1'), hits, heard };
}

t.test('overwrites a secret in values, names and the reason phrase, keeping every line', async (t) => {
  const { text, hits, heard } = scrub(
    'HTTP/1.1 401 bad s3cret-key\r\nX-Echo: Bearer s3cret-key\r\ns3cret-key: 1\r\nSet-Cookie: k=s3cret-keys3cret-key\r\n\r\n',
    's3cret-key',
  );
  t.equal(
    text,
    'HTTP/1.1 401 bad **********\r\nX-Echo: Bearer **********\r\n**********: 1\r\nSet-Cookie: k=********************\r\n\r\n',
  );
  t.equal(hits, 5);
  t.same(heard, [['head', 5]]);
});

t.test('says nothing where there is nothing', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\nX: s3cret-ke\r\n\r\n';
  t.same(scrub(head, 's3cret-key'), { text: head, hits: 0, heard: [] });
});

t.test('overwrites the whole of overlapping secrets', async (t) => {
  t.equal(scrub('X: abcdefghij', 'abcdef', 'defghij', 'cdefgh').text, 'X: **********');
  t.equal(scrub('X: abababababa.', 'abababa').text, 'X: ***********.');
});

t.test('leaves what gives a head its shape, whatever the secret is', async (t) => {
  t.equal(
    scrub('HTTP/1.1 200 OK\r\nA: b\r\n\r\n', 'HTTP/1.1 200 OK').text,
    'HTTP/1.1 200 **\r\nA: b\r\n\r\n',
  );
  t.equal(scrub('HTTP/1.1 200 O:K\r\n\r\n', '200 O:K').text, 'HTTP/1.1 200 ***\r\n\r\n');
  t.equal(
    scrub('HTTP/1.1 200 OK\r\nUser: a:b\r\n\r\n', 'User: a:b').text,
    'HTTP/1.1 200 OK\r\n****:****\r\n\r\n',
  );
  t.equal(
    scrub('HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n', 'A: b\r\nC: d').text,
    'HTTP/1.1 200 OK\r\n*:**\r\n*:**\r\n\r\n',
  );
});

t.test('serves for trailers, which have no start line', async (t) => {
  const heard: Where[] = [];
  const scrubber = new Scrubber([latin1('s3cret-key')], (where) => heard.push(where));
  const trailers = latin1('HTTP: s3cret-key\r\ns3cret-key: x:y\r\n');
  t.equal(scrubber.scrubHead(trailers, 'trailer'), 2);
  t.equal(trailers.toString(), 'HTTP: **********\r\n**********: x:y\r\n');
  t.same(heard, ['trailer']);
});

t.test('however secrets and lines meet: same lines, same names’ ends, no secret', async () => {
  const unit = fc.constantFrom('a', 'b', ':', ' ');
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit, minLength: 6, maxLength: 8 }), { minLength: 1, maxLength: 3 }),
      fc.array(fc.string({ unit, maxLength: 24 }), { maxLength: 4 }),
      (secrets, lines) => {
        const head = `HTTP/1.1 200 OK\r\n${lines.map((line) => `a${line}:\r\n`).join('')}\r\n`;
        const { text } = scrub(head, ...secrets);
        const shape = (text: string) =>
          text.split('\r\n').map((line) => [line.length, line.indexOf(':')].join());
        if (shape(text).join(' ') !== shape(head).join(' ')) throw new Error(text);
        for (const secret of secrets) {
          for (let at = head.indexOf(secret); at >= 0; at = head.indexOf(secret, at + 1)) {
            if (/[^*:]/.test(text.slice(at, at + secret.length))) throw new Error(text);
          }
        }
      },
    ),
    { numRuns: 3000 },
  );
});
