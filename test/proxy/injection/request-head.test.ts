import fc from 'fast-check';
import t from 'tap';
import type { Injection } from '../../../src/channel/messages/policy.ts';
import type { RequestHead } from '../../../src/proxy/http/message.ts';
import { RequestReader } from '../../../src/proxy/http/request.ts';
import { compileInjection } from '../../../src/proxy/injection/registry.ts';
import { type OutgoingHead, writeRequestHead } from '../../../src/proxy/injection/request-head.ts';

const LIMITS = { headBytes: 65_536, headFields: 200, targetBytes: 8192 };
const BEARER: Injection[] = [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }];
const FIELDS = new Map([['token', { value: Buffer.from('s3cret'), secret: true }]]);

/** The head as the codec reads it: start line, field lines; without Host among them unless given. */
function parse(lines: readonly string[]): RequestHead {
  const bytes = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  const reader = new RequestReader(LIMITS);
  if (reader.read(bytes, 0) !== bytes.length) throw new Error('not one whole head');
  return reader.head;
}

/** What goes upstream, as lines, for an agent's lines. */
function send(
  lines: readonly string[],
  inject: Injection[] | undefined = BEARER,
  rest: Partial<OutgoingHead> = {},
): string[] {
  const head = parse(lines);
  const { bytes, length } = writeRequestHead({
    head,
    target: { start: head.targetStart, end: head.targetEnd },
    injection: inject && compileInjection(inject),
    fields: FIELDS,
    identityOnly: false,
    ...rest,
  });
  if (length !== bytes.length || bytes.byteOffset !== 0 || bytes.buffer.byteLength !== length) {
    throw new Error('the buffer is not its own, exactly full');
  }
  const text = bytes.toString('latin1');
  if (!text.endsWith('\r\n\r\n')) throw new Error('no end');
  return text.slice(0, -4).split('\r\n');
}

t.test('keeps the agent’s fields, their order and bytes, and adds the credential last', async (t) => {
  t.same(
    send([
      'POST /v1?q=1 HTTP/1.1',
      'Host: api.example.com',
      'X-Odd:  two \t',
      'content-length:3',
      'X-Odd: again',
    ]),
    [
      'POST /v1?q=1 HTTP/1.1',
      'Host: api.example.com',
      'X-Odd:  two \t',
      'content-length:3',
      'X-Odd: again',
      'Authorization: Bearer s3cret',
    ],
  );
});

t.test('without a rule nothing is put in, and the agent’s own field passes', async (t) => {
  t.same(send(['GET / HTTP/1.1', 'Host: a', 'Authorization: mine'], []), [
    'GET / HTTP/1.1',
    'Host: a',
    'Authorization: mine',
  ]);
  const head = parse(['GET / HTTP/1.1', 'Host: a']);
  const { bytes } = writeRequestHead({
    head,
    target: Buffer.from('/other'),
    injection: undefined,
    fields: new Map(),
    identityOnly: false,
  });
  t.equal(bytes.toString(), 'GET /other HTTP/1.1\r\nHost: a\r\n\r\n');
});

t.test('exactly one credential goes upstream, whatever the agent sent in its place', async (t) => {
  const lines = [
    'Authorization: a',
    'AUTHORIZATION:',
    'Host: a',
    'authorization: c',
    'X-Authorization: stays',
  ];
  t.same(send(['GET / HTTP/1.1', ...lines]), [
    'GET / HTTP/1.1',
    'Host: a',
    'X-Authorization: stays',
    'Authorization: Bearer s3cret',
  ]);
  const key: Injection[] = [{ in: 'header', name: 'X-Api-Key', value: '{token}' }];
  t.same(send(['GET / HTTP/1.1', 'X_Api_Key: a', 'x-API_key: b', 'Host: a', 'XApiKey: c'], key), [
    'GET / HTTP/1.1',
    'Host: a',
    'XApiKey: c',
    'X-Api-Key: s3cret',
  ]);
});

t.test('"Connection: authorization" does not reach the injected field', async (t) => {
  t.same(send(['GET / HTTP/1.1', 'Host: a', 'Connection: authorization, x-drop', 'X-Drop: 1', 'X-Keep: 2']), [
    'GET / HTTP/1.1',
    'Host: a',
    'X-Keep: 2',
    'Authorization: Bearer s3cret',
  ]);
});

t.test('drops what concerns the agent’s connection only', async (t) => {
  const hop = [
    'Connection: keep-alive',
    'Keep-Alive: timeout=5',
    'Proxy-Connection: keep-alive',
    'Proxy-Authorization: Basic eDp5',
    'proxy-x: 1',
    'TE: gzip',
    'Upgrade: h2c',
    'HTTP2-Settings: AAA',
  ];
  t.same(send(['GET / HTTP/1.1', ...hop, 'Host: a', ...hop]).slice(1, -1), ['Host: a']);
});

t.test('framing stays, whatever Connection lists', async (t) => {
  const chunked = ['Host: a', 'Transfer-Encoding: chunked', 'Trailer: x-sum'];
  t.same(send(['POST / HTTP/1.1', ...chunked]).slice(1, -1), chunked);
  const length = ['Host: a', 'Content-Length: 5'];
  const head = parse(['POST / HTTP/1.1', ...length]);
  const listed = { ...head, connection: ['host', 'content-length', 'transfer-encoding'] };
  const { bytes } = writeRequestHead({
    head: listed,
    target: Buffer.from('/'),
    injection: undefined,
    fields: new Map(),
    identityOnly: false,
  });
  t.equal(bytes.toString(), `POST / HTTP/1.1\r\n${length.join('\r\n')}\r\n\r\n`);
});

t.test('passes Upgrade on where told to', async (t) => {
  t.same(
    send(['GET / HTTP/1.1', 'Host: a', 'Connection: Upgrade', 'Upgrade: websocket'], BEARER, {
      upgrade: true,
    }),
    [
      'GET / HTTP/1.1',
      'Host: a',
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Authorization: Bearer s3cret',
    ],
  );
});

t.test('asks for identity in place, once, or at the end', async (t) => {
  const identity = { identityOnly: true };
  t.same(
    send(
      ['GET / HTTP/1.1', 'accept-encoding: gzip, br', 'Host: a', 'Accept-Encoding:zstd', 'X: 1'],
      BEARER,
      identity,
    ),
    ['GET / HTTP/1.1', 'accept-encoding: identity', 'Host: a', 'X: 1', 'Authorization: Bearer s3cret'],
  );
  t.same(send(['GET / HTTP/1.1', 'Host: a', 'Accept-Encoding:'], BEARER, identity).slice(1, 3), [
    'Host: a',
    'Accept-Encoding:identity',
  ]);
  t.same(send(['GET / HTTP/1.1', 'Host: a', 'X: 1'], BEARER, identity).slice(1, -1), [
    'Host: a',
    'X: 1',
    'Accept-Encoding: identity',
  ]);
  t.same(
    send(
      ['GET / HTTP/1.1', 'Accept-Encoding: br', 'Host: a', 'Connection: accept-encoding'],
      BEARER,
      identity,
    ).slice(1, -1),
    ['Host: a', 'Accept-Encoding: identity'],
  );
});

t.test('speaks HTTP/1.1 for an HTTP/1.0 agent, with the host it asked for', async (t) => {
  t.same(send(['GET / HTTP/1.0', 'X: 1'], BEARER, { authority: 'a.example:8443' }), [
    'GET / HTTP/1.1',
    'Host: a.example:8443',
    'X: 1',
    'Authorization: Bearer s3cret',
  ]);
  t.throws(() => send(['GET / HTTP/1.0', 'X: 1']), { code: 'bad_request' });
});

t.test('copes with as many fields as the codec lets through', async (t) => {
  const lines = Array.from({ length: 180 }, (_, i) => (i % 2 ? `TE: ${i}` : `X-${i}: ${i}`));
  t.same(
    send(['GET / HTTP/1.1', 'Host: a', ...lines]).slice(2, -1),
    lines.filter((line) => line.startsWith('X')),
  );
});

t.test('equals what line-by-line filtering gives, for any mix of fields', async () => {
  const name = fc.constantFrom(
    'Authorization',
    'authorization',
    'X-Key',
    'x_key',
    'X-Keys',
    'Connection',
    'TE',
    'Keep-Alive',
    'Accept-Encoding',
    'accept-encoding',
    'Proxy-Foo',
    'Cookie',
    'Upgrade',
    'X-Listed',
    'A',
  );
  const value = fc.constantFrom('', 'x', 'x-listed', 'gzip', ' padded ', 'close');
  const line = fc.tuple(name, value).map(([name, value]) => `${name}:${value}`);
  const inject: Injection[] = [...BEARER, { in: 'header', name: 'X-Key', value: '{token}' }];
  fc.assert(
    fc.property(fc.array(line, { maxLength: 12 }), fc.nat(12), fc.boolean(), (lines, at, identityOnly) => {
      const all = lines.toSpliced(at, 0, 'Host: a');
      const listed = all.some((each) => /^connection:.*x-listed/i.test(each));
      const dropped = /^(authorization|x[-_]key|connection|te|keep-alive|proxy-foo|upgrade):/i;
      const kept = all.filter((each) => !dropped.test(each) && !(listed && /^x-listed:/i.test(each)));
      const codings = kept.filter((each) => /^accept-encoding:/i.test(each));
      const expected = identityOnly
        ? kept
            .filter((each) => !codings.slice(1).includes(each) || each === codings[0])
            .filter((each, index, list) => each !== codings[0] || list.indexOf(each) === index)
            .map((each) =>
              each === codings[0]
                ? each.replace(/:( *)[a-z-]*( *)$/, (_, a, b) => `:${a}identity${b}`)
                : each,
            )
        : kept;
      if (identityOnly && codings.length === 0) expected.push('Accept-Encoding: identity');
      const sent = send(['GET / HTTP/1.1', ...all], inject, { identityOnly });
      const whole = ['GET / HTTP/1.1', ...expected, 'Authorization: Bearer s3cret', 'X-Key: s3cret'];
      if (sent.join('|') !== whole.join('|')) throw new Error(`${sent.join('|')}\n not ${whole.join('|')}`);
    }),
    { numRuns: 3000 },
  );
});
