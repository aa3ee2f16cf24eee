import { INJECTED, SECRET } from '../support/carry.ts';

/** One request over HTTP/2, what a server of HTTP/1.1 gets, what it answers, and what the agent gets. */
export interface Http2Row {
  readonly item: string;
  readonly says: string;
  /** Names and values by turns; `:method` GET, `:path` / and the rest that a request needs unless given. */
  readonly fields?: readonly string[];
  readonly body?: string;
  readonly trailers?: Readonly<Record<string, string | string[]>>;
  /** Nothing where the request is refused. */
  readonly upstreamGets?: string;
  readonly answer?: string;
  /** The server ends its connection after the answer. */
  readonly ends?: boolean;
  readonly gets: {
    readonly interim?: readonly (readonly string[])[];
    readonly fields: readonly string[];
    readonly body?: string;
    readonly trailers?: readonly string[];
    readonly code?: number;
  };
}

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const GOT_OK = { fields: [':status', '200', 'content-length', '2'], body: 'ok' };
const GET = `GET / HTTP/1.1\r\nHost: HOST\r\n${INJECTED}`;
const CHUNKED = 'Transfer-Encoding: chunked\r\n';
const PROTOCOL_ERROR = 1;
const INTERNAL_ERROR = 2;

/** What a server gets of a request, and the agent of its answer. */
function request(
  says: string,
  fields: readonly string[],
  upstreamGets: string,
  more: Partial<Http2Row> = {},
): Http2Row {
  return { item: 'request', says, fields, upstreamGets, answer: OK, gets: GOT_OK, ...more };
}

function answer(says: string, text: string, gets: Http2Row['gets'], more: Partial<Http2Row> = {}): Http2Row {
  return { item: 'response', says, upstreamGets: GET, answer: text, gets, ...more };
}

function refused(says: string, fields: readonly string[], status: string): Http2Row {
  return { item: 'refusal', says, fields, gets: { fields: [':status', status] } };
}

/** A request that HTTP/2 itself knows to be malformed (RFC 9113, 8.1.1). */
function malformed(says: string, fields: readonly string[]): Http2Row {
  return { item: 'malformed', says, fields, gets: { fields: [], code: PROTOCOL_ERROR } };
}

export const HTTP2: readonly Http2Row[] = [
  request('the least', [], GET),
  request(
    'fields in order, duplicates kept, the credential once',
    [':path', '/a?b=c', 'x-b', '2', 'x-a', '\xe4', 'x-b', '3', 'authorization', 'Bearer mine'],
    `GET /a?b=c HTTP/1.1\r\nHost: HOST\r\nx-b: 2\r\nx-a: \xe4\r\nx-b: 3\r\n${INJECTED}`,
  ),
  request(
    'cookie crumbs become one field again',
    ['cookie', 'a=1', 'x', 'y', 'cookie', 'b=2', 'cookie', 'c=3'],
    `GET / HTTP/1.1\r\nHost: HOST\r\nx: y\r\ncookie: a=1; b=2; c=3\r\n${INJECTED}`,
  ),
  request(
    'TE: trailers goes on',
    ['te', 'trailers'],
    `GET / HTTP/1.1\r\nHost: HOST\r\nAccept-Encoding: identity\r\nTE: trailers\r\nConnection: TE\r\nAuthorization: Bearer ${SECRET}\r\n\r\n`,
  ),
  request(
    'a body without a length goes on in chunks',
    [':method', 'POST'],
    `POST / HTTP/1.1\r\nHost: HOST\r\n${CHUNKED}${INJECTED}5\r\nhello\r\n0\r\n\r\n`,
    { body: 'hello' },
  ),
  request(
    'with a length, as it is',
    [':method', 'PUT', 'content-length', '5'],
    `PUT / HTTP/1.1\r\nHost: HOST\r\ncontent-length: 5\r\n${INJECTED}hello`,
    { body: 'hello' },
  ),
  request(
    'trailers too',
    [':method', 'POST'],
    `POST / HTTP/1.1\r\nHost: HOST\r\n${CHUNKED}${INJECTED}2\r\nhi\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n`,
    { body: 'hi', trailers: { 'x-sum': '1', 'x-more': '2' } },
  ),
  request(
    'a method of its own',
    [':method', 'QUERY'],
    `QUERY / HTTP/1.1\r\nHost: HOST\r\n${CHUNKED}${INJECTED}0\r\n\r\n`,
    { body: '' },
  ),
  request(
    'OPTIONS *',
    [':method', 'OPTIONS', ':path', '*'],
    `OPTIONS * HTTP/1.1\r\nHost: HOST\r\n${INJECTED}`,
  ),
  request(
    'the authority as the agent spells it, where that is the tunnel’s',
    [':authority', 'HOST.:443'],
    `GET / HTTP/1.1\r\nHost: HOST.:443\r\n${INJECTED}`,
  ),
  request(
    'no trace of HTTP/2 in what the server gets, nor of us',
    ['x-forwarded-for', '1.2.3.4'],
    `GET / HTTP/1.1\r\nHost: HOST\r\nx-forwarded-for: 1.2.3.4\r\n${INJECTED}`,
  ),
  answer('a length', OK, GOT_OK),
  answer('an empty body ends with the head', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', {
    fields: [':status', '200', 'content-length', '0'],
  }),
  answer('chunks', `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n`, {
    fields: [':status', '200'],
    body: 'abcde',
  }),
  answer(
    'trailers',
    `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nx-two: a\r\nX-Two:  b\r\n\r\n`,
    {
      fields: [':status', '200'],
      body: 'ok',
      trailers: ['x-sum', '1', 'x-two', 'a', 'x-two', 'b'],
    },
  ),
  answer(
    'a body up to the end of the connection',
    'HTTP/1.1 200 OK\r\nX: y\r\n\r\nto the end',
    { fields: [':status', '200', 'x', 'y'], body: 'to the end' },
    { ends: true },
  ),
  answer('204', 'HTTP/1.1 204 No Content\r\n\r\n', { fields: [':status', '204'] }),
  answer(
    '304 keeps the length of what is not sent',
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n',
    {
      fields: [':status', '304', 'content-length', '9'],
    },
  ),
  answer(
    'HEAD, too',
    'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n',
    { fields: [':status', '200', 'content-length', '9'] },
    { fields: [':method', 'HEAD'], upstreamGets: GET.replace('GET', 'HEAD') },
  ),
  answer(
    'order, duplicates and bytes of the fields; those of the connection stay here',
    'HTTP/1.1 418 Tea\r\nConnection: X-Hop\r\nX-Hop: 1\r\nSet-Cookie: a\r\nX-A: \xe4\r\nSet-Cookie: b\r\nContent-Type: a\r\nContent-Type: b\r\nAlt-Svc: x\r\nContent-Length: 0\r\n\r\n',
    {
      fields: [
        ...[':status', '418', 'set-cookie', 'a', 'x-a', '\xe4', 'set-cookie', 'b'],
        ...['content-type', 'a', 'content-type', 'b', 'content-length', '0'],
      ],
    },
  ),
  answer(
    '1xx',
    `HTTP/1.1 103 Early Hints\r\nLink: a\r\nLink: b\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n${OK}`,
    {
      ...GOT_OK,
      interim: [
        [':status', '103', 'link', 'a', 'link', 'b'],
        [':status', '102'],
      ],
    },
  ),
  answer(
    'the credential is overwritten in head, content and trailers',
    `HTTP/1.1 200 OK\r\nX: ${SECRET}\r\n${CHUNKED}\r\n${SECRET.length.toString(16)}\r\n${SECRET}\r\n0\r\nY: ${SECRET}\r\n\r\n`,
    {
      fields: [':status', '200', 'x', '*'.repeat(SECRET.length)],
      body: '*'.repeat(SECRET.length),
      trailers: ['y', '*'.repeat(SECRET.length)],
    },
  ),
  answer(
    'one that breaks off ends in RST_STREAM',
    'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel',
    { fields: [':status', '200', 'content-length', '9'], body: 'hel', code: INTERNAL_ERROR },
    { ends: true },
  ),
  answer(
    'without the last chunk, too',
    `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n3\r\nhel\r\n`,
    { fields: [':status', '200'], body: 'hel', code: INTERNAL_ERROR },
    { ends: true },
  ),
  {
    item: 'failure',
    says: 'an answer that is none gets 502',
    upstreamGets: GET,
    answer: 'HTTP/1.1 20 OK\r\n\r\n',
    gets: { fields: [':status', '502'] },
  },
  refused('another authority than the tunnel’s', [':authority', 'other.test'], '421'),
  refused('another port', [':authority', 'HOST:444'], '421'),
  refused('http in this tunnel', [':scheme', 'http'], '421'),
  refused('an authority and a Host that differ', ['host', 'other.test'], '400'),
  malformed('a path that is none', [':path', 'https://HOST/']),
  malformed('a path with a space', [':path', '/a b']),
  refused('CONNECT', [':method', 'CONNECT', ':authority', 'HOST:443'], '501'),
  refused('TRACE', [':method', 'TRACE'], '501'),
  refused('an expectation that is not 100-continue', ['expect', 'x'], '417'),
];
