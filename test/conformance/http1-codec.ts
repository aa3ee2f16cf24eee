/** One message as it must be read. Fields as "name=value", in wire order. */
interface Message {
  readonly start: string;
  readonly fields?: readonly string[];
  readonly body?: string;
  readonly trailers?: string;
}

/** One requirement of the RFCs on reading HTTP/1.1, with the bytes that show it. */
export interface Row {
  readonly rfc: string;
  readonly says: string;
  readonly asked?: string;
  readonly wire: string;
  readonly reads: readonly Message[];
  /** As `Reading.ending` says. */
  readonly ending: string;
}

const HOST = 'Host: a\r\n';
const PLAIN = `GET / HTTP/1.1\r\n${HOST}\r\n`;
const plain: Message = { start: 'GET / 1.1', fields: ['Host=a'] };

function refused(rfc: string, says: string, wire: string, code = 'bad_request'): Row {
  return { rfc, says, wire, reads: [], ending: code };
}

export const REQUESTS: readonly Row[] = [
  {
    rfc: '9112 2.1',
    says: 'a message is a start-line, fields, an empty line, a body',
    wire: PLAIN,
    reads: [plain],
    ending: 'end',
  },
  {
    rfc: '9112 2.2',
    says: 'an empty line before the request-line is ignored',
    wire: `\r\n${PLAIN}`,
    reads: [plain],
    ending: 'end',
  },
  refused('9112 2.2', 'a second empty line is not', `\r\n\r\n${PLAIN}`),
  refused('9112 2.2', 'a bare LF ends no line here', `GET / HTTP/1.1\n${HOST}\r\n`),
  refused('9112 2.2', 'a bare CR is no part of a message', `GET / HTTP/1.1\r\n${HOST}X: a\rb\r\n\r\n`),
  refused(
    '9112 2.2',
    'white space before the first field is refused',
    `GET / HTTP/1.1\r\n X: y\r\n${HOST}\r\n`,
  ),
  refused('9112 2.3', 'the version is case-sensitive', `GET / http/1.1\r\n${HOST}\r\n`),
  refused(
    '9112 2.3',
    'another major version is not supported',
    `GET / HTTP/2.0\r\n${HOST}\r\n`,
    'version_not_supported',
  ),
  refused(
    '9112 2.3',
    'nor a later minor one (stricter)',
    `GET / HTTP/1.2\r\n${HOST}\r\n`,
    'version_not_supported',
  ),
  {
    rfc: '9112 3.1',
    says: 'the method is a case-sensitive token, known or not',
    wire: `gEt / HTTP/1.1\r\n${HOST}\r\nM-X / HTTP/1.1\r\n${HOST}\r\n`,
    reads: [
      { start: 'gEt / 1.1', fields: ['Host=a'] },
      { start: 'M-X / 1.1', fields: ['Host=a'] },
    ],
    ending: 'end',
  },
  refused(
    '9112 3',
    'a method longer than any gets 501',
    `${'M'.repeat(33)} / HTTP/1.1\r\n${HOST}\r\n`,
    'method_not_supported',
  ),
  refused(
    '9112 3',
    'a target longer than any gets 414',
    `GET /${'a'.repeat(8192)} HTTP/1.1\r\n${HOST}\r\n`,
    'uri_too_long',
  ),
  refused('9112 3', 'one space and no other white space between the parts', `GET  / HTTP/1.1\r\n${HOST}\r\n`),
  refused('9112 3.2', 'no white space in the target', `GET /a b HTTP/1.1\r\n${HOST}\r\n`),
  refused('9112 3.2', 'HTTP/1.1 has a Host', 'GET / HTTP/1.1\r\n\r\n'),
  refused('9112 3.2', 'and only one', `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`),
  refused('9112 3.2', 'with a valid value', 'GET / HTTP/1.1\r\nHost: a, b\r\n\r\n'),
  {
    rfc: '9112 3.2.1',
    says: 'origin-form keeps its query',
    wire: `GET /a?b=/c?d HTTP/1.1\r\n${HOST}\r\n`,
    reads: [{ ...plain, start: 'GET /a?b=/c?d 1.1' }],
    ending: 'end',
  },
  {
    rfc: '9112 3.2.2',
    says: 'absolute-form is accepted',
    wire: `GET http://a/b HTTP/1.1\r\n${HOST}\r\n`,
    reads: [{ ...plain, start: 'GET http://a/b 1.1' }],
    ending: 'end',
  },
  refused(
    '9112 3.2.2',
    'unless Host differs (stricter)',
    `GET http://b/ HTTP/1.1\r\n${HOST}\r\n`,
    'misdirected_request',
  ),
  {
    rfc: '9112 3.2.3',
    says: 'authority-form is for CONNECT',
    wire: `CONNECT a:443 HTTP/1.1\r\n${HOST}\r\n`,
    reads: [{ ...plain, start: 'CONNECT a:443 1.1' }],
    ending: 'tunnel',
  },
  refused('9112 3.2.3', 'with a port', `CONNECT a HTTP/1.1\r\n${HOST}\r\n`),
  {
    rfc: '9112 3.2.4',
    says: 'asterisk-form is for OPTIONS',
    wire: `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`,
    reads: [{ ...plain, start: 'OPTIONS * 1.1' }],
    ending: 'end',
  },
  refused('9112 3.2.4', 'alone', `GET * HTTP/1.1\r\n${HOST}\r\n`),
  {
    rfc: '9112 5',
    says: 'white space around a value is not part of it; case, order and duplicates are kept',
    wire: `GET / HTTP/1.1\r\n${HOST}b:\t 1 \t\r\nA:2\r\nB: 3\r\nc:\r\n\r\n`,
    reads: [{ start: 'GET / 1.1', fields: ['Host=a', 'b=1', 'A=2', 'B=3', 'c='] }],
    ending: 'end',
  },
  {
    rfc: '9110 5.5',
    says: 'obs-text is kept',
    wire: `GET / HTTP/1.1\r\n${HOST}X: \x80\xff\r\n\r\n`,
    reads: [{ ...plain, fields: ['Host=a', 'X=\x80\xff'] }],
    ending: 'end',
  },
  refused('9110 5.5', 'NUL is refused', `GET / HTTP/1.1\r\n${HOST}X: a\0b\r\n\r\n`),
  refused('9112 5.1', 'no white space between name and colon', `GET / HTTP/1.1\r\n${HOST}X : y\r\n\r\n`),
  refused('9112 5.2', 'no folded line', `GET / HTTP/1.1\r\n${HOST}X: y\r\n z\r\n\r\n`),
  refused(
    '9112 6.1',
    'a coding that is not understood gets 501',
    `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n`,
    'coding_not_supported',
  ),
  refused(
    '9112 6.1',
    'no Transfer-Encoding in HTTP/1.0',
    `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ),
  refused(
    '9112 6.1',
    'none beside a Content-Length',
    `POST / HTTP/1.1\r\n${HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ),
  refused(
    '9112 6.3',
    'no differing lengths',
    `POST / HTTP/1.1\r\n${HOST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`,
  ),
  refused(
    '9110 8.6',
    'no identical ones either (stricter)',
    `POST / HTTP/1.1\r\n${HOST}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`,
  ),
  refused(
    '9110 8.6',
    'nor a list of them (stricter)',
    `POST / HTTP/1.1\r\n${HOST}Content-Length: 5, 5\r\n\r\nhello`,
  ),
  refused(
    '9110 8.6',
    'a length is digits alone',
    `POST / HTTP/1.1\r\n${HOST}Content-Length: +5\r\n\r\nhello`,
  ),
  {
    rfc: '9112 6.3',
    says: 'a length delimits the body, none means none; pipelined requests follow',
    wire: `POST / HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello${PLAIN}${PLAIN}`,
    reads: [{ start: 'POST / 1.1', fields: ['Host=a', 'Content-Length=5'], body: 'hello' }, plain, plain],
    ending: 'end',
  },
  {
    rfc: '9112 7.1',
    says: 'chunks, their extensions and trailers',
    wire: `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: Chunked\r\n\r\n5;a;b="c"\r\nhello\r\nA\r\n0123456789\r\n000\r\nT: u\r\n\r\n${PLAIN}`,
    reads: [
      {
        start: 'POST / 1.1',
        fields: ['Host=a', 'Transfer-Encoding=Chunked'],
        body: 'hello0123456789',
        trailers: 'T: u\r\n',
      },
      plain,
    ],
    ending: 'end',
  },
  refused(
    '9112 7.1',
    'a chunk size that overflows',
    `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n`,
  ),
  refused(
    '9110 6.5.1',
    'a trailer that frames',
    `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n`,
  ),
  {
    rfc: '9112 8',
    says: 'an incomplete body is not complete',
    wire: `POST / HTTP/1.1\r\n${HOST}Content-Length: 9\r\n\r\nhello`,
    reads: [],
    ending: 'partial',
  },
  {
    rfc: '9112 9.3',
    says: 'what follows "close" is not read',
    wire: `GET / HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n${PLAIN}`,
    reads: [{ ...plain, fields: ['Host=a', 'Connection=close'] }],
    ending: 'closed',
  },
  {
    rfc: '9112 9.3',
    says: 'HTTP/1.0 closes',
    wire: `GET / HTTP/1.0\r\n\r\n${PLAIN}`,
    reads: [{ start: 'GET / 1.0' }],
    ending: 'closed',
  },
  {
    rfc: '9112 9.3',
    says: 'unless it says keep-alive',
    wire: `GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n${PLAIN}`,
    reads: [{ start: 'GET / 1.0', fields: ['Connection=Keep-Alive'] }, plain],
    ending: 'end',
  },
  refused(
    '9110 10.1.1',
    'another expectation gets 417',
    `GET / HTTP/1.1\r\n${HOST}Expect: coffee\r\n\r\n`,
    'expectation_failed',
  ),
  refused(
    '9110 9.3.6',
    'CONNECT has no content',
    `CONNECT a:1 HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
  ),
];

const EMPTY = 'HTTP/1.1 204 No Content\r\n\r\n';
const empty: Message = { start: '204 1.1' };

function broken(rfc: string, says: string, wire: string): Row {
  return refused(rfc, says, wire, 'upstream_invalid');
}

export const RESPONSES: readonly Row[] = [
  {
    rfc: '9112 4',
    says: 'the reason phrase may be anything printable',
    wire: 'HTTP/1.1 204 \xfc \t!\r\n\r\n',
    reads: [empty],
    ending: 'end',
  },
  { rfc: '9112 4', says: 'or empty', wire: 'HTTP/1.1 204 \r\n\r\n', reads: [empty], ending: 'end' },
  { rfc: '9112 4', says: 'or missing (laxer)', wire: 'HTTP/1.1 204\r\n\r\n', reads: [empty], ending: 'end' },
  broken('9112 4', 'a status has three digits', 'HTTP/1.1 20 OK\r\n\r\n'),
  {
    rfc: '9110 15.2',
    says: 'interim responses precede the final one',
    wire: `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${EMPTY}`,
    reads: [{ start: '100 1.1' }, { start: '103 1.1', fields: ['Link=</a>'] }, empty],
    ending: 'end',
  },
  broken('9110 8.6', 'they have no content', 'HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello'),
  {
    rfc: '9112 6.3 1',
    says: 'no body to HEAD',
    asked: 'HEAD',
    wire: `HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n${EMPTY}`,
    reads: [{ start: '200 1.1', fields: ['Content-Length=5'] }, empty],
    ending: 'end',
  },
  {
    rfc: '9112 6.3 1',
    says: 'nor in 304',
    wire: `HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n${EMPTY}`,
    reads: [{ start: '304 1.1', fields: ['Content-Length=5'] }, empty],
    ending: 'end',
  },
  {
    rfc: '9112 6.3 2',
    says: 'a 2xx to CONNECT is a tunnel, its length ignored',
    asked: 'CONNECT',
    wire: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    reads: [{ start: '200 1.1', fields: ['Content-Length=5'] }],
    ending: 'tunnel',
  },
  broken(
    '9112 6.3 3',
    'no length beside a coding',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n',
  ),
  {
    rfc: '9112 6.3 4',
    says: 'chunked to the last chunk',
    wire: `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: u\r\n\r\n${EMPTY}`,
    reads: [
      { start: '200 1.1', fields: ['Transfer-Encoding=chunked'], body: 'hi', trailers: 'T: u\r\n' },
      empty,
    ],
    ending: 'end',
  },
  broken('9112 6.3 5', 'no invalid length', 'HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello'),
  {
    rfc: '9112 6.3 6',
    says: 'a length is kept to',
    wire: `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi${EMPTY}`,
    reads: [{ start: '200 1.1', fields: ['Content-Length=2'], body: 'hi' }, empty],
    ending: 'end',
  },
  {
    rfc: '9112 6.3 8',
    says: 'without either, up to the close',
    wire: 'HTTP/1.1 200 OK\r\n\r\nhi',
    reads: [{ start: '200 1.1', body: 'hi' }],
    ending: 'closed',
  },
  {
    rfc: '9112 6.3 8',
    says: 'in HTTP/1.0 too, whatever it says of the connection',
    wire: 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhi',
    reads: [{ start: '200 1.0', fields: ['Connection=keep-alive'], body: 'hi' }],
    ending: 'closed',
  },
  {
    rfc: '9112 8',
    says: 'a short body is not complete',
    wire: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi',
    reads: [],
    ending: 'partial',
  },
  {
    rfc: '9110 7.8',
    says: '101 hands the connection over',
    wire: 'HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\n\x81',
    reads: [{ start: '101 1.1', fields: ['Upgrade=y'] }],
    ending: 'tunnel',
  },
  broken('9110 15.3.6', 'a 205 has no content', 'HTTP/1.1 205 x\r\nContent-Length: 2\r\n\r\nhi'),
  broken('9112 5.2', 'no folded line', 'HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n'),
];
