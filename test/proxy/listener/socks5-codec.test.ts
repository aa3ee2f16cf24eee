import fc from 'fast-check';
import t from 'tap';
import { SallyportError } from '../../../src/errors.ts';
import {
  loginAnswer,
  methodAnswer,
  REPLY,
  readGreeting,
  readLogin,
  readRequest,
  replyFor,
  requestAnswer,
} from '../../../src/proxy/listener/socks5.ts';

const bytes = (...parts: (number | string)[]): Buffer =>
  Buffer.concat(
    parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : Buffer.from(part, 'latin1'))),
  );

t.test('a greeting offers methods, of which user and password are taken', async (t) => {
  t.same(readGreeting(bytes(5, 1, 2)), { end: 3, value: true });
  t.same(readGreeting(bytes(5, 3, 0, 1, 2, 99)), { end: 5, value: true });
  t.same(readGreeting(bytes(5, 1, 0, 2)), { end: 3, value: false }, 'what follows is no method');
  t.same(readGreeting(bytes(5, 0)), { end: 2, value: false });
  for (const part of [[], [5], [5, 2, 2]]) t.equal(readGreeting(bytes(...part)), undefined);
  t.throws(() => readGreeting(bytes(4, 1, 0)), { code: 'bad_request' });
});

t.test('a login is a name and a password, which is wiped where it lay', async (t) => {
  const login = bytes(1, 3, 'bot', 6, 'sesame', 'next');
  t.same(readLogin(login), { end: 12, value: { name: 'bot', token: Buffer.from('sesame') } });
  t.same(login, bytes(1, 3, 'bot', 6, '\0\0\0\0\0\0', 'next'));
  t.match(readLogin(bytes(1, 0, 0)), { end: 3, value: { name: '' } });
  const whole = bytes(1, 255, 'n'.repeat(255), 255, 'p'.repeat(255));
  for (const end of [0, 1, 2, 100, 257, 258, 512]) t.equal(readLogin(whole.subarray(0, end)), undefined);
  t.equal(readLogin(whole)?.end, 513);
  t.throws(() => readLogin(bytes(5, 1, 'a', 1, 'b')), { code: 'bad_request' });
});

t.test('a request names a host in its one form', async (t) => {
  const hosts: readonly [Buffer, string, boolean][] = [
    [bytes(5, 1, 0, 3, 15, 'API.Example.COM', 1, 187), 'api.example.com', false],
    [bytes(5, 1, 0, 3, 7, 'a.test.', 1, 187), 'a.test', false],
    [Buffer.concat([bytes(5, 1, 0, 3, 7), Buffer.from('ü.test'), bytes(1, 187)]), 'xn--tda.test', false],
    [bytes(5, 1, 0, 3, 9, '127.0.0.1', 1, 187), '127.0.0.1', false],
    [bytes(5, 1, 0, 1, 192, 0, 2, 7, 1, 187), '192.0.2.7', true],
    [bytes(5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 1, 1, 187), '2001:db8::1', true],
    [bytes(5, 1, 0, 4, ...Array(10).fill(0), 255, 255, 10, 0, 0, 1, 1, 187), '::ffff:10.0.0.1', true],
  ];
  for (const [request, host, isAddress] of hosts) {
    t.same(readRequest(request), { end: request.length, value: { host, port: 443, isAddress } }, host);
    for (let end = 0; end < request.length; end++) {
      t.equal(readRequest(request.subarray(0, end)), undefined, `${end} bytes of it`);
    }
  }
  t.equal(readRequest(bytes(5, 1, 0, 3, 6, 'a.test', 1, 187, 'more'))?.end, 13);
});

t.test('what is no request is refused', async (t) => {
  const rows: readonly [Buffer, string][] = [
    [bytes(4, 1, 0, 1), 'bad_request'],
    [bytes(5, 2, 0, 1), 'method_not_supported'],
    [bytes(5, 3, 0, 1), 'method_not_supported'],
    [bytes(5, 1, 0, 2, 0), 'bad_request'],
    [bytes(5, 1, 0, 3, 6, 'a.test', 0, 0), 'bad_request'],
    [bytes(5, 1, 0, 3, 0, 1, 187), 'bad_request'],
    [bytes(5, 1, 0, 3, 5, '127.1', 1, 187), 'bad_request'],
    [bytes(5, 1, 0, 3, 4, '0x7f', 1, 187), 'bad_request'],
    [bytes(5, 1, 0, 3, 6, 'a/test', 1, 187), 'bad_request'],
    [bytes(5, 1, 0, 3, 6, 'a\0test', 1, 187), 'bad_request'],
    [bytes(5, 1, 0, 3, 6, 'a%2etb', 1, 187), 'bad_request'],
    [bytes(5, 1, 0, 3, 4, '\xff\xfe.t', 1, 187), 'bad_request'],
  ];
  for (const [request, code] of rows)
    t.throws(() => readRequest(request), { code }, JSON.stringify(request.toString('latin1')));
});

t.test('whatever comes is read, waited for or refused, and a cut changes nothing', async () => {
  for (const read of [readGreeting, readLogin, readRequest]) {
    const result = (input: Uint8Array): string => {
      try {
        return JSON.stringify(read(Buffer.from(input)) ?? 'more');
      } catch (error) {
        if (error instanceof SallyportError) return error.code;
        throw error;
      }
    };
    const shaped = fc
      .tuple(
        fc.constantFrom(1, 4, 5),
        fc.constantFrom(1, 1, 1, 2),
        fc.constantFrom(0, 2),
        fc.nat(5),
        fc.uint8Array({ maxLength: 30 }),
      )
      .map(([version, second, third, type, rest]) => Buffer.from([version, second, third, type, ...rest]));
    fc.assert(
      fc.property(fc.oneof(shaped, fc.uint8Array({ maxLength: 40 })), fc.nat(40), (input, cut) => {
        const whole = result(input);
        const before = result(input.subarray(0, cut));
        // A part says "more", or what the whole says.
        return before === '"more"' || before === whole;
      }),
      { numRuns: 3_000 },
    );
  }
});

t.test('answers are as RFC 1928 and 1929 have them', async (t) => {
  t.same(methodAnswer(true), bytes(5, 2));
  t.same(methodAnswer(false), bytes(5, 255));
  t.same(loginAnswer(true), bytes(1, 0));
  t.same(loginAnswer(false), bytes(1, 1));
  t.same(requestAnswer(REPLY.notAllowed), bytes(5, 2, 0, 1, 0, 0, 0, 0, 0, 0));
  const cause = (code: string) => ({ cause: Object.assign(new Error(code), { code }) });
  const rows: readonly [SallyportError, number][] = [
    [new SallyportError('host_not_granted', ''), 2],
    [new SallyportError('address_forbidden', ''), 2],
    [new SallyportError('integrity_failed', ''), 2],
    [new SallyportError('upstream_unresolved', ''), 4],
    [new SallyportError('upstream_unreachable', '', cause('ENETUNREACH')), 3],
    [new SallyportError('upstream_unreachable', '', cause('EHOSTUNREACH')), 4],
    [new SallyportError('upstream_unreachable', '', cause('ECONNREFUSED')), 5],
    [new SallyportError('upstream_timeout', ''), 6],
    [new SallyportError('method_not_supported', ''), 7],
    [new SallyportError('bad_request', ''), 8],
    [new SallyportError('rate_limited', ''), 1],
    [new SallyportError('vault_unavailable', ''), 1],
  ];
  for (const [error, reply] of rows) t.equal(replyFor(error), reply, error.code);
});
