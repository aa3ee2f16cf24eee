import { type CarryRow, INJECTED } from '../support/carry.ts';

const GET = 'GET / HTTP/1.1\r\nHost: HOST\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const EXPECTING = 'PUT /p HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nExpect: 100-continue\r\n';
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

export const INTERIM: readonly CarryRow[] = [
  {
    item: '100-continue',
    says: 'the expectation goes to the server, its 100 to the agent, and only then the body',
    steps: [
      { agent: `${EXPECTING}\r\n` },
      { upstreamGets: EXPECTING + INJECTED },
      { upstream: CONTINUE },
      { agentGets: CONTINUE },
      { agent: 'hello' },
      { upstreamGets: 'hello' },
      { upstream: OK },
      { agentGets: OK },
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
    ],
  },
  {
    item: '100-continue',
    says: 'an agent that does not wait is not waited for',
    steps: [
      { agent: `${EXPECTING}\r\nhello` },
      { upstreamGets: `${EXPECTING + INJECTED}hello` },
      { upstream: CONTINUE + OK },
      { agentGets: CONTINUE + OK },
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
    ],
  },
  ...[417, 401, 200].map(
    (status): CarryRow => ({
      item: '100-continue',
      says: `a server that answers ${status} instead is heard, and no byte is taken for a body or a request`,
      steps: [
        { agent: `${EXPECTING}\r\n` },
        { upstreamGets: EXPECTING + INJECTED },
        { upstream: `HTTP/1.1 ${status} No\r\nContent-Length: 2\r\n\r\nno` },
        { agentGets: `HTTP/1.1 ${status} No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno` },
        { upstreamSees: 'gone' },
        { agent: `GET /x HTTP/1.1\r\nHost: HOST\r\n\r\n` },
        { agentSees: 'closed' },
      ],
    }),
  ),
  {
    item: '100-continue',
    says: 'an expectation of HTTP/1.0 is ignored: not passed on, and no 100 comes back',
    steps: [
      {
        agent: 'PUT /p HTTP/1.0\r\nHost: HOST\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello',
      },
      { upstreamGets: `PUT /p HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n${INJECTED}hello` },
      { upstream: CONTINUE + OK },
      { agentGets: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok' },
      { agentSees: 'closed' },
    ],
  },
  {
    item: '1xx',
    says: 'a 103 is passed on as soon as it comes, another of the kind too',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n' },
      { agentGets: 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n' },
      { upstream: 'HTTP/1.1 150 Odd\r\n\r\n' },
      { agentGets: 'HTTP/1.1 150 Odd\r\n\r\n' },
      { upstream: OK },
      { agentGets: OK },
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
    ],
  },
  {
    item: '1xx',
    says: 'the fields of a 1xx that concern the server’s connection stay here',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: 'HTTP/1.1 103 Early Hints\r\nConnection: X-Hop\r\nX-Hop: 1\r\nLink: </a>\r\n\r\n' },
      { agentGets: 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n' },
      { upstream: OK },
      { agentGets: OK },
    ],
  },
  {
    item: '1xx',
    says: 'a 101 that nobody asked for is no answer',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n' },
      { agentGets: 'HTTP/1.1 502 Bad Gateway\r\n' },
      { upstreamSees: 'gone' },
    ],
  },
  {
    item: '1xx',
    says: 'a connection that dies after a 1xx has answered: the request is not sent again',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: OK },
      { agentGets: OK },
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: 'HTTP/1.1 103 Early Hints\r\n\r\n' },
      { agentGets: 'HTTP/1.1 103 Early Hints\r\n\r\n' },
      { upstreamEnds: 'closed' },
      { agentGets: 'HTTP/1.1 502 Bad Gateway\r\n' },
    ],
  },
];
