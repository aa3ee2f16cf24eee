import fc from 'fast-check';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { readAnswer } from '../../src/exchanger/answer.ts';

const NOW = Date.parse('2026-11-24T12:00:00Z');
const read = (body: string | Buffer, status = 200, member: 'access_token' | 'token' = 'access_token') =>
  readAnswer({ status, body: Buffer.from(body) }, member, NOW);
const failed = { code: 'exchange_failed' };

t.test('a token, its lifetime and a new refresh token are read', async (t) => {
  const cases: [object, number | null][] = [
    [{ expires_in: 3600 }, 3_600_000],
    [{ expires_in: '60' }, 60_000],
    [{ expires_in: 1e12 }, 24 * 3_600_000],
    [{ expires_in: null }, null],
    [{}, null],
    [{ expires_at: '2026-11-24T13:00:00Z' }, 3_600_000],
    [{ expires_at: 7 }, null],
  ];
  for (const [more, lifetimeMs] of cases) {
    const { reply, tokens } = read(JSON.stringify({ access_token: 'abc', ...more }));
    t.same(reply, { outcome: 'token', lifetimeMs }, JSON.stringify(more));
    t.same(tokens.map(String), ['abc']);
  }
  const both = read('{"access_token":"abc","token_type":"BEARER","refresh_token":"def","scope":"x"}');
  t.same(both.tokens.map(String), ['abc', 'def']);
  t.same(read('{"token":"abc"}', 201, 'token').tokens.map(String), ['abc']);
  const jwt = (claims: object) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`;
  const until = read(JSON.stringify({ token: jwt({ exp: NOW / 1_000 + 60 }) }), 200, 'token');
  t.match(until.reply, { lifetimeMs: 60_000 }, "a JWT's own expiry");
});

t.test('what is no token response is refused', async (t) => {
  const odd: [string, string, number?][] = [
    ['nothing', ''],
    ['no JSON', '<html>'],
    ['an array', '[]'],
    ['null', 'null'],
    ['no token', '{"token_type":"Bearer"}'],
    ['a token under another name', '{"token":"abc"}'],
    ['a number', '{"access_token":1}'],
    ['an empty token', '{"access_token":""}'],
    ['a line end in it', '{"access_token":"a\\r\\nX-Evil: 1"}'],
    ['a space in it', '{"access_token":"a b"}'],
    ['a letter that no header holds', '{"access_token":"\u00e9"}'],
    ['a token of 20,000', JSON.stringify({ access_token: 'a'.repeat(20_000) })],
    ['a refresh token of 20,000', JSON.stringify({ access_token: 'a', refresh_token: 'a'.repeat(20_000) })],
    ['a type that is no bearer', '{"access_token":"a","token_type":"mac"}'],
    ['one that has expired', '{"access_token":"a","expires_in":0}'],
    ['one that expired earlier', '{"access_token":"a","expires_at":"2026-11-24T11:59:59Z"}'],
    ['a lifetime that is none', '{"access_token":"a","expires_in":{}}'],
    ['a token behind a redirection', '{"access_token":"a"}', 302],
    ['too many requests', '{"error":"invalid_grant"}', 429],
    ['an error of its own', '{"error":"invalid_grant"}', 503],
    ['an interim status', '{"access_token":"a"}', 101],
  ];
  for (const [what, body, status] of odd) t.throws(() => read(body, status), failed, what);
});

t.test('a refusal is told apart, and repeats only words of the protocol', async (t) => {
  t.same(read('{"error":"invalid_grant"}', 400).reply, {
    outcome: 'refused',
    status: 400,
    error: 'invalid_grant',
  });
  t.match(read('{"error":"invalid_grant"}', 200).reply, { outcome: 'refused' }, 'also with a 200');
  for (const body of ['{"error":"my secret is 12"}', '{"error":{"a":1}}', '{"message":"Not Found"}']) {
    t.match(read(body, 404).reply, { outcome: 'refused', status: 404, error: null }, body);
  }
});

t.test('whatever comes, it is a token, a refusal or a failure that quotes nothing', async () => {
  const value = fc.oneof(fc.string(), fc.integer(), fc.constant(null), fc.object({ maxDepth: 2 }));
  const names = ['access_token', 'token', 'error', 'expires_in', 'expires_at', 'refresh_token', 'token_type'];
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    fc
      .dictionary(fc.constantFrom(...names, '__proto__', 'constructor'), value)
      .map((json) => Buffer.from(JSON.stringify(json))),
  );
  const status = fc.integer({ min: 100, max: 599 });
  fc.assert(
    fc.property(body, status, (bytes, code) => {
      try {
        const { reply, tokens } = readAnswer({ status: code, body: bytes }, 'access_token', NOW);
        const fit = tokens.every((token) => /^[\x21-\x7e]+$/.test(token.toString('latin1')));
        return reply.outcome === 'refused' ? tokens.length === 0 : fit && tokens.length > 0;
      } catch (error) {
        return error instanceof SallyportError && error.code === 'exchange_failed';
      }
    }),
    { numRuns: 2_000 },
  );
});
