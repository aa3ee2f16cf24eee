import { type Message, type Row, refused } from './row.ts';

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
