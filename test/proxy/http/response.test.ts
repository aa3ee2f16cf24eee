import { Buffer } from 'node:buffer';
import t from 'tap';
import { ResponseReader } from '../../../src/proxy/http/response.ts';
import { LIMITS, textOf } from './reading.ts';

function readOne(text: string, asked = 'GET') {
  const reader = new ResponseReader(LIMITS);
  reader.expect(asked);
  const chunk = Buffer.from(text, 'latin1');
  const end = reader.read(chunk, 0);
  t.not(end, -1);
  return reader.head;
}

t.test('a head is a view with status, fields and framing', (t) => {
  const head = readOne('HTTP/1.1 404 Nicht da\r\nServer: s\r\nContent-Length: 3\r\n\r\nabc');
  t.match(head, { status: 404, minor: 1, persistent: true, identityCoding: true, connection: [] });
  t.same(head.framing, { kind: 'length', length: 3 });
  t.same(textOf(head.fields), ['Server', 's', 'Content-Length', '3']);
  t.end();
});

t.test('interim heads come before the final one, each by itself', (t) => {
  const reader = new ResponseReader(LIMITS);
  reader.expect('POST');
  const chunk = Buffer.from(
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi',
  );
  const seen: [number, string][] = [];
  for (let at = 0; seen.at(-1)?.[0] !== 200; ) {
    at = reader.read(chunk, at);
    seen.push([reader.head.status, reader.head.framing.kind]);
    reader.reset();
  }
  t.same(seen, [
    [100, 'none'],
    [103, 'none'],
    [200, 'length'],
  ]);
  t.end();
});

t.test('framing follows the request, the status and the fields (RFC 9112, 6.3)', (t) => {
  const chunked = 'Transfer-Encoding: chunked\r\n';
  const rows: [asked: string, line: string, fields: string, framing: string, persistent: boolean][] = [
    ['GET', '1.1 200', 'Content-Length: 0\r\n', 'length', true],
    ['GET', '1.1 200', chunked, 'chunked', true],
    ['GET', '1.1 200', '', 'close', false],
    ['GET', '1.0 200', '', 'close', false],
    ['GET', '1.0 200', 'Connection: keep-alive\r\n', 'close', false],
    ['GET', '1.0 200', 'Connection: keep-alive\r\nContent-Length: 1\r\n', 'length', true],
    ['GET', '1.0 200', 'Content-Length: 1\r\n', 'length', false],
    ['GET', '1.1 200', 'Content-Length: 1\r\nConnection: close\r\n', 'length', false],
    ['HEAD', '1.1 200', 'Content-Length: 9\r\n', 'none', true],
    ['HEAD', '1.1 200', chunked, 'none', true],
    ['HEAD', '1.1 200', '', 'none', true],
    ['GET', '1.1 204', '', 'none', true],
    ['GET', '1.1 204', 'Content-Length: 9\r\n', 'none', true],
    ['GET', '1.1 204', chunked, 'none', false],
    ['GET', '1.1 304', 'Content-Length: 9\r\n', 'none', true],
    ['GET', '1.1 304', chunked, 'none', true],
    ['GET', '1.1 205', '', 'none', false],
    ['GET', '1.1 205', 'Content-Length: 0\r\n', 'length', true],
    ['GET', '1.1 205', chunked, 'chunked', true],
    ['GET', '1.1 101', 'Upgrade: x\r\nConnection: upgrade\r\n', 'none', true],
    ['CONNECT', '1.1 200', 'Content-Length: 9\r\n', 'none', true],
    ['CONNECT', '1.1 299', '', 'none', true],
    ['CONNECT', '1.1 407', 'Content-Length: 9\r\n', 'length', true],
  ];
  for (const [asked, line, fields, kind, persistent] of rows) {
    const head = readOne(`HTTP/${line} x\r\n${fields}\r\n`, asked);
    t.same([head.framing.kind, head.persistent], [kind, persistent], `${asked} ${line} ${fields}`);
  }
  t.end();
});

t.test('the method stays in force until the next is said', (t) => {
  const reader = new ResponseReader(LIMITS);
  reader.expect('HEAD');
  const chunk = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n');
  reader.read(chunk, 0);
  t.equal(reader.head.framing.kind, 'none');
  reader.expect('GET');
  reader.read(chunk, 0);
  t.equal(reader.head.framing.kind, 'length');
  t.end();
});

t.test('identityCoding is false for every coding but identity', (t) => {
  const rows: [string, boolean][] = [
    ['', true],
    ['Content-Encoding: identity\r\n', true],
    ['Content-Encoding: Identity\r\n', true],
    ['Content-Encoding:\r\n', true],
    ['Content-Encoding: gzip\r\n', false],
    ['content-encoding: br\r\n', false],
    ['Content-Encoding: identity, gzip\r\n', false],
    ['Content-Encoding: identity\r\nContent-Encoding: gzip\r\n', false],
    ['Content-Encoding: gzip\r\nContent-Encoding: identity\r\n', false],
    ['Content-Encodinh: gzip\r\n', true],
  ];
  for (const [line, identityCoding] of rows) {
    t.equal(
      readOne(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\n${line}\r\n`).identityCoding,
      identityCoding,
      line,
    );
  }
  t.end();
});

t.test('every fault of a server is upstream_invalid, a head beyond the limits too', (t) => {
  const reader = () => new ResponseReader({ headBytes: 100, headFields: 3, targetBytes: 1 });
  const rows = [
    `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(100)}`,
    `HTTP/1.1 200 ${'r'.repeat(100)}`,
    'HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent_Length: 1\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n',
    'HTTP/2.0 200 OK\r\n\r\n',
  ];
  for (const text of rows)
    t.throws(() => reader().read(Buffer.from(text), 0), { code: 'upstream_invalid' }, text);
  t.end();
});
