import { type CarryRow, INJECTED } from '../support/carry.ts';

const GET = 'GET / HTTP/1.1\r\nHost: HOST\r\n';
const POST = 'POST /p HTTP/1.1\r\nHost: HOST\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** A whole request and its answer, on connections that stay: the second one shows that both are still in step. */
function answered(item: string, says: string, request: string, response: string): CarryRow {
  return {
    item,
    says,
    steps: [
      { agent: `${request}\r\n` },
      { upstreamGets: request + INJECTED },
      { upstream: response },
      { agentGets: response },
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: OK },
      { agentGets: OK },
    ],
  };
}

function posted(item: string, says: string, fields: string, body: string): CarryRow {
  return {
    item,
    says,
    steps: [
      { agent: `${POST}${fields}\r\n${body}` },
      { upstreamGets: POST + fields + INJECTED + body },
      { upstream: OK },
      { agentGets: OK },
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: OK },
      { agentGets: OK },
    ],
  };
}

const CHUNKED = 'Transfer-Encoding: chunked\r\n';

/** A response that ends the agent's connection, with its framing as given. */
function ending(item: string, says: string, response: string, agentGets: string): CarryRow {
  return {
    item,
    says,
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: response },
      { upstreamEnds: 'closed' },
      { agentGets },
      { agentSees: 'closed' },
    ],
  };
}

/** A response that breaks off: what came of it arrives, and then an end that no reader takes for a whole one. */
function broken(item: string, says: string, response: string, how: 'closed' | 'cut' | 'reset'): CarryRow {
  return {
    item,
    says,
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: response },
      { agentGets: response },
      { upstreamEnds: how },
      { agentSees: 'cut' },
    ],
  };
}

export const FRAMING: readonly CarryRow[] = [
  posted('request framing', 'Content-Length', 'Content-Length: 5\r\n', 'hello'),
  posted('request framing', 'Content-Length: 0', 'Content-Length: 0\r\n', ''),
  posted('request framing', 'chunked', CHUNKED, '5\r\nhello\r\n0\r\n\r\n'),
  posted('request framing', 'chunk extensions', CHUNKED, '5;a=b;c="d;e"\r\nhello\r\n0;x\r\n\r\n'),
  posted(
    'request framing',
    'trailers',
    `Trailer: X-Sum\r\n${CHUNKED}`,
    '5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n',
  ),
  {
    item: 'request framing',
    says: 'a body that arrives in pieces leaves in pieces, at once',
    steps: [
      { agent: `${POST}${CHUNKED}\r\n3\r` },
      { upstreamGets: `${POST}${CHUNKED}${INJECTED}3\r` },
      { agent: '\nab' },
      { upstreamGets: '\nab' },
      { agent: 'c\r\n0\r\n' },
      { upstreamGets: 'c\r\n0\r\n' },
      { agent: '\r\n' },
      { upstreamGets: '\r\n' },
      { upstream: OK },
      { agentGets: OK },
    ],
  },
  answered(
    'response framing',
    'Content-Length',
    GET,
    'HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nX: y\r\n\r\nhello',
  ),
  answered('response framing', 'an empty body', GET, 'HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n'),
  answered(
    'response framing',
    'chunked with extensions',
    GET,
    `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n5;a=b\r\nhello\r\n0;z\r\n\r\n`,
  ),
  answered(
    'response framing',
    'trailers',
    GET,
    `HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\n${CHUNKED}\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n`,
  ),
  answered(
    'HEAD',
    'no body follows, whatever its fields announce',
    GET.replace('GET', 'HEAD'),
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
  ),
  answered(
    'HEAD',
    'nor after a chunked one',
    GET.replace('GET', 'HEAD'),
    `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n`,
  ),
  answered('204', 'no body', GET, 'HTTP/1.1 204 No Content\r\nX: y\r\n\r\n'),
  answered(
    '304',
    'no body, whatever its Content-Length announces',
    GET,
    'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 99\r\n\r\n',
  ),
  answered('304', 'nor where it is said to be chunked', GET, `HTTP/1.1 304 Not Modified\r\n${CHUNKED}\r\n`),
  {
    item: '204',
    says: 'one that is said to be chunked loses that field, and its connection is not used again',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: `HTTP/1.1 204 No Content\r\n${CHUNKED}X: y\r\n\r\n` },
      { agentGets: 'HTTP/1.1 204 No Content\r\nX: y\r\n\r\n' },
      { upstreamSees: 'gone' },
      { newConnection: true },
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: OK },
      { agentGets: OK },
    ],
  },
  {
    item: '205',
    says: 'with a length of 0 it is as any other',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: 'HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n' },
      { agentGets: 'HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n' },
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
    ],
  },
  {
    item: '205',
    says: 'without a length both connections close after it, which suits both readings of it',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: 'HTTP/1.1 205 Reset Content\r\n\r\n' },
      { agentGets: 'HTTP/1.1 205 Reset Content\r\nConnection: close\r\n\r\n' },
      { agentSees: 'closed' },
      { upstreamSees: 'gone' },
    ],
  },
  ending(
    'close-delimited',
    'the body lasts to the end of the connection, and so does the agent’s',
    'HTTP/1.1 200 OK\r\nX: y\r\n\r\nto the end',
    'HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\nto the end',
  ),
  ending(
    'close-delimited',
    'an empty one',
    'HTTP/1.1 200 OK\r\n\r\n',
    'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n',
  ),
  {
    item: 'close-delimited',
    says: 'without the server’s close_notify it may have been cut, and does not look whole',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: 'HTTP/1.1 200 OK\r\n\r\nto the' },
      { agentGets: 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the' },
      { upstreamEnds: 'cut' },
      { agentSees: 'reset' },
    ],
  },
  {
    item: 'close-delimited',
    says: 'nor does one whose connection was reset',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: 'HTTP/1.1 200 OK\r\n\r\nto the' },
      { agentGets: 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the' },
      { upstreamEnds: 'reset' },
      { agentSees: 'reset' },
    ],
  },
  broken('truncation', 'short of the length', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel', 'closed'),
  broken('truncation', 'cut, short of the length', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel', 'cut'),
  broken('truncation', 'reset', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel', 'reset'),
  broken('truncation', 'without the last chunk', `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n3\r\nhel\r\n`, 'closed'),
  broken(
    'truncation',
    'within the trailers',
    `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n3\r\nhel\r\n0\r\nX: y\r\n`,
    'closed',
  ),
  {
    item: 'truncation',
    says: 'a malformed chunk ends it: nothing from the fault on goes out',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n` },
      { agentGets: `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n` },
      { upstream: 'zz\r\n' },
      { agentSees: 'cut' },
      { upstreamSees: 'gone' },
    ],
  },
  {
    item: 'truncation',
    says: 'a request’s malformed chunk gets 400, and the server never sees the body whole',
    steps: [
      { agent: `${POST}${CHUNKED}\r\n5\r\nhello\r\n` },
      { upstreamGets: `${POST}${CHUNKED}${INJECTED}5\r\nhello\r\n` },
      { agent: '-1\r\n\r\n' },
      { upstreamSees: 'gone' },
      { agentGets: 'HTTP/1.1 400 Bad Request\r\n' },
    ],
  },
  {
    item: 'truncation',
    says: 'an agent that ends within its body ends the server’s request',
    steps: [
      { agent: `${POST}Content-Length: 9\r\n\r\nhel` },
      { upstreamGets: `${POST}Content-Length: 9\r\n${INJECTED}hel` },
      { agentEnds: 'half' },
      { upstreamSees: 'gone' },
    ],
  },
];
