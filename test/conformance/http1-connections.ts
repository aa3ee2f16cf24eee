import { type CarryRow, INJECTED } from '../support/carry.ts';

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: HOST\r\n`;
const ok = (text: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
const closing = (text: string) =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`;
const PROCESSING = 'HTTP/1.1 102 Processing\r\n\r\n';
const CHUNKED_OK = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n';

/** A first exchange, after which the connection to the server is one that was used before. */
const WARM = [
  { agent: `${get('/warm')}\r\n` },
  { upstreamGets: get('/warm') + INJECTED },
  { upstream: ok('warm') },
  { agentGets: ok('warm') },
] as const;

/** A request on a connection that was used before, which the server then ends without a byte. */
function dead(method: string, body: string): CarryRow['steps'] {
  const length = body === '' ? '' : `Content-Length: ${body.length}\r\n`;
  const head = `${method} /x HTTP/1.1\r\nHost: HOST\r\n${length}`;
  return [
    ...WARM,
    { agent: `${head}\r\n${body}` },
    { upstreamGets: head + INJECTED + body },
    { upstreamEnds: 'closed' },
  ];
}

export const CONNECTIONS: readonly CarryRow[] = [
  {
    item: 'pipelining',
    says: 'requests sent ahead are answered in their order, one at a time upstream',
    steps: [
      {
        agent: `${get('/1')}\r\n${get('/2')}\r\nPOST /3 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n\r\nabc${get('/4')}\r\n`,
      },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: ok('one') },
      { upstreamGets: get('/2') + INJECTED },
      { upstream: ok('two') },
      { upstreamGets: `POST /3 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n${INJECTED}abc` },
      { upstream: ok('three') },
      { upstreamGets: get('/4') + INJECTED },
      { upstream: ok('four') },
      { agentGets: ok('one') + ok('two') + ok('three') + ok('four') },
    ],
  },
  {
    item: 'pipelining',
    says: 'a request cut in two by the one before it',
    steps: [
      { agent: `${get('/1')}\r\n${get('/2').slice(0, 9)}` },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: ok('one') },
      { agentGets: ok('one') },
      { agent: `${get('/2').slice(9)}\r\n` },
      { upstreamGets: get('/2') + INJECTED },
    ],
  },
  {
    item: 'pipelining',
    says: 'nothing is read after a request that says close',
    steps: [
      { agent: `${get('/1')}Connection: close\r\n\r\n${get('/2')}\r\n` },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: ok('one') },
      { agentGets: closing('one') },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'half-close',
    says: 'a whole request is answered after the agent’s close_notify',
    steps: [
      { agent: `${get('/1')}\r\n` },
      { agentEnds: 'half' },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: ok('one') },
      { agentGets: ok('one'), after: PROCESSING },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'half-close',
    says: 'and while the server works; 102 shows whether the agent is still there',
    steps: [
      { agent: `${get('/1')}\r\n` },
      { upstreamGets: get('/1') + INJECTED },
      { agentEnds: 'half' },
      { agentGets: PROCESSING + PROCESSING },
      { upstream: ok('one') },
      { agentGets: ok('one'), after: PROCESSING },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'half-close',
    says: 'an agent of HTTP/1.0, which knows no 1xx, gets its answer alone',
    steps: [
      { agent: 'GET /1 HTTP/1.0\r\nHost: HOST\r\n\r\n' },
      { upstreamGets: get('/1') + INJECTED },
      { agentEnds: 'half' },
      { wait: 120 },
      { upstream: ok('one') },
      { agentGets: closing('one') },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'half-close',
    says: 'so are all that were pipelined before it',
    steps: [
      { agent: `${get('/1')}\r\n${get('/2')}\r\n` },
      { agentEnds: 'half' },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: ok('one') },
      { upstreamGets: get('/2') + INJECTED },
      { upstream: ok('two') },
      { agentGets: ok('one'), after: PROCESSING },
      { agentGets: ok('two'), after: PROCESSING },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'half-close',
    says: 'after a body that came on its own',
    steps: [
      { agent: 'POST /1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n\r\n' },
      { upstreamGets: `POST /1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n${INJECTED}` },
      { agent: 'abc' },
      { agentEnds: 'half' },
      { upstreamGets: 'abc' },
      { upstream: ok('one') },
      { agentGets: ok('one'), after: PROCESSING },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'abort',
    says: 'an agent that goes without a close_notify wants no answer: the server’s request ends',
    steps: [
      { agent: `${get('/1')}\r\n` },
      { upstreamGets: get('/1') + INJECTED },
      { agentEnds: 'abort' },
      { upstreamSees: 'gone' },
    ],
  },
  {
    item: 'abort',
    says: 'as it does for one that says so with a close_notify, and goes',
    steps: [
      { agent: `${get('/1')}\r\n` },
      { upstreamGets: get('/1') + INJECTED },
      { agentEnds: 'half' },
      { agentEnds: 'abort' },
      { upstreamSees: 'gone' },
    ],
  },
  {
    item: 'abort',
    says: 'within the answer too',
    steps: [
      { agent: `${get('/1')}\r\n` },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: `${CHUNKED_OK}3\r\nabc\r\n` },
      { agentGets: `${CHUNKED_OK}3\r\nabc\r\n` },
      { agentEnds: 'abort' },
      { upstreamSees: 'gone' },
    ],
  },
  {
    item: 'abort',
    says: 'and after a body that came on its own',
    steps: [
      { agent: 'POST /1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n\r\n' },
      { upstreamGets: `POST /1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n${INJECTED}` },
      { agent: 'abc' },
      { upstreamGets: 'abc' },
      { wait: 20 },
      { agentEnds: 'abort' },
      { upstreamSees: 'gone' },
    ],
  },
  {
    item: 'persistence',
    says: 'a server that says close is not used again; the agent’s connection is',
    steps: [
      { agent: `${get('/1')}\r\n` },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: closing('one') },
      { agentGets: ok('one') },
      { upstreamSees: 'gone' },
      { newConnection: true },
      { agent: `${get('/2')}\r\n` },
      { upstreamGets: get('/2') + INJECTED },
      { upstream: ok('two') },
      { agentGets: ok('two') },
    ],
  },
  {
    item: 'HTTP/1.0 agent',
    says: 'it is answered in HTTP/1.1 and its connection closes; the server’s stays',
    steps: [
      { agent: 'GET /1 HTTP/1.0\r\nHost: HOST\r\n\r\n' },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: ok('one') },
      { agentGets: closing('one') },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'HTTP/1.0 agent',
    says: 'with keep-alive too: a proxy keeps no connection with a client of 1.0',
    steps: [
      { agent: 'GET /1 HTTP/1.0\r\nHost: HOST\r\nConnection: keep-alive\r\n\r\n' },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: ok('one') },
      { agentGets: closing('one') },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'HTTP/1.0 agent',
    says: 'without a Host it is given the tunnel’s',
    steps: [
      { agent: 'GET /1 HTTP/1.0\r\nX: y\r\n\r\n' },
      { upstreamGets: `GET /1 HTTP/1.1\r\nHost: HOST\r\nX: y\r\n${INJECTED}` },
      { upstream: ok('one') },
      { agentGets: closing('one') },
    ],
  },
  {
    item: 'HTTP/1.0 agent',
    says: 'it gets a chunked body without its chunks, to the end of the connection',
    steps: [
      { agent: 'GET /1 HTTP/1.0\r\nHost: HOST\r\n\r\n' },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: `${CHUNKED_OK}3\r\nabc\r\n2;x=y\r\nde\r\n` },
      { agentGets: 'HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\nabcde' },
      { upstream: '0\r\nX-Trailer: t\r\n\r\n' },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'HTTP/1.0 agent',
    says: 'where such a body breaks off, its connection is reset',
    steps: [
      { agent: 'GET /1 HTTP/1.0\r\nHost: HOST\r\n\r\n' },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: `${CHUNKED_OK}3\r\nabc\r\n` },
      { agentGets: 'HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\nabc' },
      { upstreamEnds: 'closed' },
      { agentSees: 'reset' },
    ],
  },
  {
    item: 'HTTP/1.0 server',
    says: 'its answer goes on as HTTP/1.1; its connection is not used again',
    steps: [
      { agent: `${get('/1')}\r\n` },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: 'HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\none' },
      { agentGets: ok('one') },
      { upstreamSees: 'gone' },
      { newConnection: true },
      { agent: `${get('/2')}\r\n` },
      { upstreamGets: get('/2') + INJECTED },
    ],
  },
  {
    item: 'HTTP/1.0 server',
    says: 'unless it says keep-alive',
    steps: [
      { agent: `${get('/1')}\r\n` },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: 'HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\none' },
      { agentGets: ok('one') },
      { agent: `${get('/2')}\r\n` },
      { upstreamGets: get('/2') + INJECTED },
    ],
  },
  {
    item: 'HTTP/1.0 server',
    says: 'a body without a length lasts to the end of the connection',
    steps: [
      { agent: `${get('/1')}\r\n` },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: 'HTTP/1.0 200 OK\r\n\r\none' },
      { upstreamEnds: 'closed' },
      { agentGets: 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\none' },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'retry',
    says: 'a GET whose reused connection ends without a byte is sent again, once, on a new one',
    steps: [
      ...dead('GET', ''),
      { newConnection: true },
      { upstreamGets: get('/x') + INJECTED },
      { upstream: ok('again') },
      { agentGets: ok('again') },
    ],
  },
  {
    item: 'retry',
    says: 'the new connection was used by nobody before, so there is no third time',
    steps: [
      ...dead('DELETE', ''),
      { newConnection: true },
      { upstreamGets: `DELETE /x HTTP/1.1\r\nHost: HOST\r\n${INJECTED}` },
      { upstreamEnds: 'closed' },
      { agentGets: 'HTTP/1.1 502 Bad Gateway\r\n' },
    ],
  },
  {
    item: 'retry',
    says: 'a POST is not sent again: it may have been carried out',
    steps: [...dead('POST', ''), { agentGets: 'HTTP/1.1 502 Bad Gateway\r\n' }],
  },
  {
    item: 'retry',
    says: 'nor is a PUT whose body is gone',
    steps: [...dead('PUT', 'abc'), { agentGets: 'HTTP/1.1 502 Bad Gateway\r\n' }],
  },
  {
    item: 'retry',
    says: 'nor a GET that has a part of its answer',
    steps: [
      ...WARM,
      { agent: `${get('/x')}\r\n` },
      { upstreamGets: get('/x') + INJECTED },
      { upstream: 'HTTP/1.1 200 OK\r\nContent-' },
      { wait: 20 },
      { upstreamEnds: 'closed' },
      { agentGets: 'HTTP/1.1 502 Bad Gateway\r\n' },
    ],
  },
  {
    item: 'early response',
    says: 'it goes to the agent while the body is unread; neither connection is used again',
    steps: [
      { agent: 'POST /1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 9\r\n\r\nabc' },
      { upstreamGets: `POST /1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 9\r\n${INJECTED}abc` },
      { upstream: ok('enough') },
      { agentGets: closing('enough') },
      { upstreamSees: 'gone' },
      { agent: `def${get('/2')}\r\n` },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'early response',
    says: 'one that lasts gets the rest of the body meanwhile',
    steps: [
      { agent: 'POST /1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 6\r\n\r\nabc' },
      { upstreamGets: `POST /1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 6\r\n${INJECTED}abc` },
      { upstream: 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nABC' },
      { agentGets: 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nABC' },
      { agent: 'def' },
      { upstreamGets: 'def' },
      { upstream: 'DEF' },
      { agentGets: 'DEF' },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'bytes after a response',
    says: 'they reach nobody, and their connection is not used again',
    steps: [
      { agent: `${get('/1')}\r\n` },
      { upstreamGets: get('/1') + INJECTED },
      { upstream: ok('one') + ok('evil') },
      { agentGets: ok('one') },
      { upstreamSees: 'gone' },
      { newConnection: true },
      { agent: `${get('/2')}\r\n` },
      { upstreamGets: get('/2') + INJECTED },
      { upstream: ok('two') },
      { agentGets: ok('two') },
    ],
  },
  {
    item: 'bytes after a response',
    says: 'nor do those that come while the connection is idle',
    steps: [
      ...WARM,
      { wait: 20 },
      { upstream: ok('evil') },
      { upstreamSees: 'gone' },
      { newConnection: true },
      { agent: `${get('/2')}\r\n` },
      { upstreamGets: get('/2') + INJECTED },
      { upstream: ok('two') },
      { agentGets: ok('two') },
    ],
  },
];
