import { SECRET } from '../support/carry.ts';

/** One request to a server of HTTP/2: from an agent of HTTP/1.1 in bytes, or of HTTP/2 in fields. */
export interface ServerRow {
  readonly says: string;
  /** The agent's request, in HTTP/1.1. */
  readonly sends: string;
  /** What the server gets: names and values by turns, then content and trailers. */
  readonly fields: readonly string[];
  readonly body?: string;
  readonly trailers?: readonly string[];
  /** What it answers: interim answers, head, content, trailers. */
  readonly interim?: readonly (readonly string[])[];
  readonly answer: readonly string[];
  readonly content?: string;
  readonly answerTrailers?: Readonly<Record<string, string | string[]>>;
  /** What the agent gets, in HTTP/1.1. */
  readonly gets: string;
}

const pseudo = (method: string, path: string): string[] => [
  ...[':method', method, ':authority', 'HOST', ':scheme', 'https', ':path', path],
];
const INJECTED = ['accept-encoding', 'identity', 'authorization', `Bearer ${SECRET}`];
const GET = `GET /a?b HTTP/1.1\r\nHost: HOST\r\n`;
const GOT_GET = [...pseudo('GET', '/a?b'), ...INJECTED];
const OK = [':status', '200', 'content-length', '2'];
const GOT_OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

/** What becomes of a request. */
function request(
  says: string,
  sends: string,
  got: Pick<ServerRow, 'fields' | 'body' | 'trailers'>,
): ServerRow {
  return { says, sends, ...got, answer: OK, content: 'ok', gets: GOT_OK };
}

/** What becomes of an answer to a GET. */
function answer(says: string, given: Omit<ServerRow, 'says' | 'sends' | 'fields'>): ServerRow {
  return { says, sends: `${GET}\r\n`, fields: GOT_GET, ...given };
}

export const SERVERS: readonly ServerRow[] = [
  request(
    'fields in order, in lower case, duplicates kept, the credential once',
    `${GET}X-B: 2\r\nx-a: \xe4\r\nX-B: 3\r\nAuthorization: mine\r\n\r\n`,
    {
      fields: [...pseudo('GET', '/a?b'), 'x-b', '2', 'x-a', '\xe4', 'x-b', '3', ...INJECTED],
    },
  ),
  request(
    'what concerns the agent’s connection stays here',
    `${GET}Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\nUpgrade: h2c\r\n\r\n`,
    {
      fields: GOT_GET,
    },
  ),
  request('TE: trailers goes on', `${GET}TE: trailers\r\nConnection: TE\r\n\r\n`, {
    fields: [
      ...pseudo('GET', '/a?b'),
      'accept-encoding',
      'identity',
      'te',
      'trailers',
      'authorization',
      `Bearer ${SECRET}`,
    ],
  }),
  request('a body with a length', `PUT / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n\r\nhello`, {
    fields: [...pseudo('PUT', '/'), 'content-length', '5', ...INJECTED],
    body: 'hello',
  }),
  request(
    'chunks and trailers',
    `POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n`,
    { fields: [...pseudo('POST', '/'), ...INJECTED], body: 'hello', trailers: ['x-sum', '1'] },
  ),
  request('OPTIONS *', 'OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n', {
    fields: [...pseudo('OPTIONS', '*'), ...INJECTED],
  }),
  request('a duplicate of what HTTP/2 wants once', `${GET}Content-Type: a\r\nContent-Type: b\r\n\r\n`, {
    fields: [...pseudo('GET', '/a?b'), 'content-type', 'a', 'content-type', 'b', ...INJECTED],
  }),
  answer('a body without a length, and trailers', {
    answer: [':status', '200', 'x', 'y'],
    content: 'hello',
    answerTrailers: { 'x-sum': '1', 'x-two': ['a', 'b'] },
    gets: 'HTTP/1.1 200 OK\r\nx: y\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\nx-two: a\r\nx-two: b\r\n\r\n',
  }),
  answer('no body', {
    answer: [':status', '200', 'x', 'y'],
    gets: 'HTTP/1.1 200 OK\r\nx: y\r\nContent-Length: 0\r\n\r\n',
  }),
  answer('204', { answer: [':status', '204'], gets: 'HTTP/1.1 204 No Content\r\n\r\n' }),
  answer('304', {
    answer: [':status', '304', 'content-length', '9'],
    gets: 'HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n',
  }),
  answer('1xx', {
    interim: [[':status', '103', 'link', 'a']],
    answer: OK,
    content: 'ok',
    gets: `HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n${GOT_OK}`,
  }),
  answer('duplicates; Alt-Svc stays here', {
    answer: [
      ':status',
      '200',
      'set-cookie',
      'a',
      'alt-svc',
      'h3=":443"',
      'set-cookie',
      'b',
      'content-length',
      '2',
    ],
    content: 'ok',
    gets: 'HTTP/1.1 200 OK\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 2\r\n\r\nok',
  }),
  answer('the credential is overwritten in head, content and trailers', {
    answer: [':status', '200', 'x', SECRET],
    content: SECRET,
    answerTrailers: { y: SECRET },
    gets: `HTTP/1.1 200 OK\r\nx: ${'*'.repeat(SECRET.length)}\r\nTransfer-Encoding: chunked\r\n\r\n${SECRET.length.toString(16)}\r\n${'*'.repeat(SECRET.length)}\r\n0\r\ny: ${'*'.repeat(SECRET.length)}\r\n\r\n`,
  }),
];
