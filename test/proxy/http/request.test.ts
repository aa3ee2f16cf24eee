import { Buffer } from 'node:buffer';
import t from 'tap';
import { SallyportError } from '../../../src/errors.ts';
import { RequestReader } from '../../../src/proxy/http/request.ts';
import { LIMITS, textOf } from './reading.ts';

const bytes = (text: string) => Buffer.from(text, 'latin1');

function readOne(text: string, limits = LIMITS) {
  const reader = new RequestReader(limits);
  const chunk = bytes(text);
  return { end: reader.read(chunk, 0), reader, chunk };
}

t.test('a whole head is a view of its chunk, with every part by offset', (t) => {
  const text = 'POST /a?b HTTP/1.1\r\nHost:\ta:80 \r\nX:\r\nx: 1, 2\t\r\nContent-Length: 3\r\n\r\n';
  const reader = new RequestReader(LIMITS);
  const chunk = bytes(`#####${text}abcGET`);
  t.equal(reader.read(chunk, 5), 5 + text.length);
  const { head } = reader;
  t.equal(head.bytes.buffer, chunk.buffer, 'no copy');
  t.equal(head.bytes.toString('latin1'), text);
  t.same(textOf(head.fields), ['Host', 'a:80', 'X', '', 'x', '1, 2', 'Content-Length', '3']);
  t.match(head, {
    method: 'POST',
    minor: 1,
    host: 0,
    persistent: true,
    expectContinue: false,
    connection: [],
  });
  t.same(head.framing, { kind: 'length', length: 3 });
  t.equal(head.bytes.toString('latin1', head.targetStart, head.targetEnd), '/a?b');
  t.end();
});

t.test('one reader reads heads in a row, with or without reset between them', (t) => {
  const reader = new RequestReader(LIMITS);
  const chunk = bytes(
    'GET /1 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nFOO /2 HTTP/1.0\r\n\r\n\r\nGET /3 HTTP/1.1\r\nHost: b\r\n\r\n',
  );
  const first = reader.read(chunk, 0);
  t.match(reader.head, { method: 'GET', host: 0 });
  const second = reader.read(chunk, first);
  t.match(reader.head, { method: 'FOO', host: -1, minor: 0, persistent: false });
  reader.reset();
  t.throws(() => reader.head, { code: 'internal' });
  t.equal(reader.read(chunk, second), chunk.length, 'an empty line is skipped');
  t.equal(reader.head.bytes[0], 0x47, 'and is no part of the head');
  t.same(textOf(reader.head.fields), ['Host', 'b']);
  t.end();
});

t.test('as many fields as the limit allows are kept', (t) => {
  const names = Array.from({ length: LIMITS.headFields - 1 }, (_, i) => `X-${i}`);
  const { head } = readOne(
    `GET / HTTP/1.1\r\nHost: a\r\n${names.map((name) => `${name}: v${name}\r\n`).join('')}\r\n`,
  ).reader;
  t.same(textOf(head.fields), ['Host', 'a', ...names.flatMap((name) => [name, `v${name}`])]);
  t.end();
});

t.test('the limits hold to the byte, however the head is cut', (t) => {
  const head = (fields: number, target: number, padding: number) =>
    `GET /${'t'.repeat(target - 1)} HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(fields - 2)}P: ${'p'.repeat(padding)}\r\n\r\n`;
  const limits = { headBytes: 500, headFields: 10, targetBytes: 40 };
  const frame = head(10, 40, 0).length;
  const rows: [text: string, outcome: string][] = [
    [head(10, 40, 500 - frame), 'read'],
    [head(10, 40, 501 - frame), 'head_too_large'],
    [head(11, 40, 0), 'head_too_large'],
    [head(10, 41, 0), 'uri_too_long'],
    [`GET /${'t'.repeat(600)}`, 'uri_too_long'],
    [`GET / HTTP/1.1\r\nHost: a\r\nX: ${'y'.repeat(600)}`, 'head_too_large'],
    [`GET / HTTP/1.1\r\nHost: a\r\n${'x'.repeat(600)}`, 'head_too_large'],
    [`GET / HTTP/1.1\r\nHost: a\r\nX:${' '.repeat(600)}`, 'head_too_large'],
    [`${'M'.repeat(600)}`, 'method_not_supported'],
  ];
  for (const [text, outcome] of rows) {
    for (const step of [text.length, 1, 7]) {
      const reader = new RequestReader(limits);
      let said = 'needs more';
      try {
        for (let at = 0; at < text.length && said === 'needs more'; at += step) {
          if (reader.read(bytes(text.slice(at, at + step)), 0) !== -1) said = 'read';
        }
      } catch (error) {
        if (!(error instanceof SallyportError)) throw error;
        said = error.code;
      }
      t.equal(said, outcome, `${outcome} in steps of ${step}: ${text.slice(0, 30)}`);
    }
  }
  t.end();
});

t.test('a head fed byte by byte costs the same per byte whatever its length', (t) => {
  const limits = { headBytes: 400_000, headFields: 100, targetBytes: 400_000 };
  const long = 'v'.repeat(100_000);
  const wire = bytes(`GET /${long} HTTP/1.1\r\nHost: a\r\nX: ${long}\r\n${long}: y\r\n\r\n`);
  const reader = new RequestReader(limits);
  const begun = process.hrtime.bigint();
  let end = -1;
  for (let i = 0; i < wire.length; i++) end = reader.read(wire.subarray(i, i + 1), 0);
  const ms = Number(process.hrtime.bigint() - begun) / 1e6;
  t.equal(end, 1);
  t.equal(reader.head.bytes.length, wire.length);
  // Looking at each line anew with every byte would take 1.5 * 10^10 steps: half a minute on any machine.
  t.ok(ms < 5000, `${ms.toFixed(0)} ms`);
  t.end();
});

t.test('what a cut head was gathered in is wiped: by reset, and what lay beyond the head at once', (t) => {
  const reader = new RequestReader(LIMITS);
  t.equal(reader.read(bytes('GET / HTTP/1.1\r\nHost: a\r\nAuthorization: secret-one\r'), 0), -1);
  const rest = bytes('\n\r\nbody with secret-two');
  t.equal(reader.read(rest, 0), 3);
  const gathered = Buffer.from(reader.head.bytes.buffer);
  t.ok(gathered.includes('secret-one'));
  t.notOk(gathered.includes('secret-two'));
  reader.reset();
  t.ok(gathered.every((byte) => byte === 0));
  t.end();
});

t.test('after a fault nothing is read until reset, and what was gathered is wiped', (t) => {
  for (const fault of ['X : y\r\n\r\n', 'Content-Length: x\r\n\r\n']) {
    const reader = new RequestReader(LIMITS);
    reader.read(bytes('GET / HTTP/1.1\r\nHost: a\r\n'), 0);
    t.throws(() => reader.read(bytes(fault), 0), { code: 'bad_request' });
    t.throws(() => reader.read(bytes('GET / HTTP/1.1\r\nHost: a\r\n\r\n'), 0), { code: 'bad_request' });
    t.throws(() => reader.head, { code: 'internal' });
    reader.reset();
    t.not(reader.read(bytes('GET / HTTP/1.1\r\nHost: a\r\n\r\n'), 0), -1);
  }
  t.end();
});

t.test('a head that is refused, or grows, leaves no bytes in the buffers it was gathered in', (t) => {
  const original = Buffer.allocUnsafeSlow;
  t.teardown(() => {
    Buffer.allocUnsafeSlow = original;
  });
  const gathered: Buffer[] = [];
  Buffer.allocUnsafeSlow = (size) => {
    const buffer = original(size).fill(0);
    gathered.push(buffer);
    return buffer;
  };
  const reader = new RequestReader(LIMITS);
  reader.read(bytes('GET / HTTP/1.1\r\nHost: a\r\nAuthorization: secret\r\n'), 0);
  reader.read(bytes(`X: ${'y'.repeat(5000)}\r\n`), 0);
  t.same(
    gathered.map((buffer) => buffer.includes('secret')),
    [false, true],
  );
  t.throws(() => reader.read(bytes('Content-Length: x\r\n\r\n'), 0), { code: 'bad_request' });
  t.ok(gathered.every((buffer) => buffer.every((byte) => byte === 0)));
  t.end();
});

t.test('a refusal names its cause in one sentence and shows no byte of the message', (t) => {
  const rows: [text: string, code: string, says: RegExp][] = [
    ['GET / HTTP/1.1\r\nHost: a\r\nX-sesame : y\r\n\r\n', 'bad_request', /white space stands before a colon/],
    ['GET / HTTP/1.1\r\nHost: a\r\nX: sesame\n\r\n\r\n', 'bad_request', /ends without CR/],
    ['GET / HTTP/1.1\r\nHost: a\r\nX: sesame\r\n y\r\n\r\n', 'bad_request', /begins with white space/],
    ['GET / HTTP/1.1\r\nX: sesame\r\n\r\n', 'bad_request', /has no Host/],
    ['GET / HTTP/1.1\r\nHost: sesame@a\r\n\r\n', 'bad_request', /Host is not a valid host/],
    [
      'GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: sesame\r\n\r\n',
      'coding_not_supported',
      /exactly "chunked"/,
    ],
    ['GET / HTTP/1.1\r\nHost: a\r\nExpect: sesame\r\n\r\n', 'expectation_failed', /100-continue/],
    ['GET http://sesame/ HTTP/1.1\r\nHost: a\r\n\r\n', 'misdirected_request', /Host differs/],
    ['GET / HTTP/2.0\r\nHost: a\r\n\r\n', 'version_not_supported', /HTTP\/1\.1/],
  ];
  for (const [text, code, says] of rows) {
    t.throws(() => readOne(text), { code, message: says });
    try {
      readOne(text);
    } catch (error) {
      t.notMatch(String(error), /sesame|\n/);
    }
  }
  t.end();
});

t.test('Connection, persistence and Expect', (t) => {
  const rows: [
    minor: number,
    lines: string,
    connection: string[],
    persistent: boolean,
    expectContinue: boolean,
  ][] = [
    [1, '', [], true, false],
    [1, 'Connection: keep-alive\r\n', ['keep-alive'], true, false],
    [1, 'Connection: close\r\n', ['close'], false, false],
    [1, 'Connection: TE, X-A ,,Close\r\nconnection: x-b\r\n', ['te', 'x-a', 'close', 'x-b'], false, false],
    [
      1,
      'Connection: keep-alive\r\nConnection: Keep-Alive, x\r\n',
      ['keep-alive', 'keep-alive', 'x'],
      true,
      false,
    ],
    [0, '', [], false, false],
    [0, 'Connection: Keep-Alive\r\n', ['keep-alive'], true, false],
    [0, 'Connection: keep-alive, close\r\n', ['keep-alive', 'close'], false, false],
    [1, 'Expect: 100-continue\r\n', [], true, true],
    [0, 'Expect: 100-continue\r\n', [], false, false],
  ];
  for (const [minor, lines, connection, persistent, expectContinue] of rows) {
    const { head } = readOne(`GET / HTTP/1.${minor}\r\nHost: a\r\n${lines}\r\n`).reader;
    t.same(head.connection, connection, lines);
    t.match(head, { persistent, expectContinue }, lines);
  }
  const reader = new RequestReader(LIMITS);
  reader.read(bytes('GET / HTTP/1.1\r\nHost: a\r\nConnection: a, b\r\n\r\n'), 0);
  const kept = reader.head.connection;
  reader.read(bytes('GET / HTTP/1.1\r\nHost: a\r\nConnection: c\r\nConnection: d\r\n\r\n'), 0);
  t.same(
    [kept, reader.head.connection],
    [
      ['a', 'b'],
      ['c', 'd'],
    ],
    'each head has its own list',
  );
  t.end();
});
