import type { TestRule, WorkerOptions } from '../support/worker.ts';
import { problem, type WayRow, type WayStep } from './ways-in.ts';

/** Limits, each with what meets it: a worker of its own for each. */
export interface Met {
  readonly limits: NonNullable<WorkerOptions['limits']>;
  /** Of the rule for listed.test. */
  readonly own?: NonNullable<TestRule['limits']>;
  readonly rows: readonly WayRow[];
}

const OF = 'listed.test:443';
const ESTABLISHED = 'HTTP/1.1 200 Connection established\r\n\r\n';
const connect = (host: string): WayStep => ({
  agent: `CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}\r\nAUTH\r\n`,
});
const GET = 'GET / HTTP/1.1\r\nHost: listed.test\r\n';
const GOT = `${GET}Accept-Encoding: identity\r\nAuthorization: Bearer SECRET\r\n\r\n`;
const STREAM = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';
const EVENT = '9\r\ndata: 1\n\n\r\n';

/** 429 to a CONNECT, and a close. */
function tooMany(detail: string): readonly WayStep[] {
  const more = { phrase: detail, retryable: true };
  return [
    { agentGets: problem(429, 'Too Many Requests', 'rate_limited', detail, more) },
    { agentSees: 'end' },
  ];
}

/** 504 to a request in a tunnel, and the end of the server's connection. */
function tooLate(detail: string): readonly WayStep[] {
  return [
    {
      agentGets: problem(504, 'Gateway Timeout', 'upstream_timeout', detail, {
        retryable: true,
        close: false,
      }),
    },
    { upstreamSees: 'gone', of: OF },
  ];
}

const asked: readonly WayStep[] = [{ agent: `${GET}\r\n` }, { upstreamGets: GOT, of: OF }];

export const MET: readonly Met[] = [
  {
    limits: { tunnelsPerAgent: 1 },
    rows: [
      {
        item: '6 connections per agent',
        says: '429 to the one too many',
        from: 'port',
        steps: [
          connect('listed.test'),
          { agentGets: ESTABLISHED },
          { newAgent: true },
          connect('listed.test'),
          ...tooMany(
            'This agent may have 1 connections open, and has no more left: close some, then try again.',
          ),
        ],
      },
    ],
  },
  {
    limits: { tunnelBurst: 1, tunnelsPerSecond: 1 },
    rows: [
      {
        item: '6 new tunnels per second',
        says: 'the second waits, 429 to the third',
        from: 'port',
        steps: [
          connect('listed.test'),
          { agentGets: ESTABLISHED },
          { newAgent: true },
          connect('listed.test'),
          { wait: 100 },
          { newAgent: true },
          connect('listed.test'),
          ...tooMany('This agent opens more than 1 connections a second: keep some open and use them again.'),
        ],
      },
    ],
  },
  {
    limits: { leavesPerMinute: 1 },
    rows: [
      {
        item: '6 leaf mints per minute',
        says: '429 to the host for which there would be another',
        from: 'port',
        steps: [
          connect('listed.test'),
          { agentGets: ESTABLISHED },
          { newAgent: true },
          connect('other.test'),
          ...tooMany('Too many certificates.'), // the sentence is the vault's
        ],
      },
    ],
  },
  {
    limits: { strangers: 1 },
    rows: [
      {
        item: '6 strangers',
        says: '429 to one more of which nobody knows whose it is',
        from: 'port',
        steps: [
          { wait: 50 },
          { newAgent: true },
          ...tooMany('Too many connections wait to be told whose they are: try again in a second.'),
        ],
      },
    ],
  },
  {
    limits: { idleTimeoutMs: 400, handshakeTimeoutMs: 400 },
    rows: [
      { item: '6 idle tunnels', says: 'closed', from: 'tunnel', steps: [{ agentSees: 'end' }] },
      {
        item: '6 slow handshakes',
        says: 'closed, since a TLS client cannot be told',
        from: 'port',
        steps: [connect('listed.test'), { agentGets: ESTABLISHED }, { agentSees: 'end' }],
      },
    ],
  },
  {
    limits: {},
    own: { bodyBytes: 8 },
    rows: [
      {
        item: '6 body size per service',
        says: '413, by the service’s own limit',
        from: 'tunnel',
        steps: [
          { agent: 'POST / HTTP/1.1\r\nHost: listed.test\r\nContent-Length: 9\r\n\r\n123456789' },
          {
            agentGets: problem(
              413,
              'Payload Too Large',
              'content_too_large',
              'The body is larger than the 8 bytes that are allowed here: send a smaller one, or ask the owner to raise the limit of this service.',
            ),
          },
          { agentSees: 'end' },
          { untouched: OF },
        ],
      },
    ],
  },
  {
    limits: {},
    own: { responseTimeoutMs: 400 },
    rows: [
      {
        item: '5 head time',
        says: '504, the agent’s connection stays',
        from: 'tunnel',
        steps: [
          ...asked,
          ...tooLate('The server did not begin to answer in time; the key is healthy. Try again later.'),
        ],
      },
    ],
  },
  {
    limits: {},
    own: { totalTimeoutMs: 400 },
    rows: [
      {
        item: '5 total time',
        says: '504 before an answer',
        from: 'tunnel',
        steps: [
          ...asked,
          ...tooLate(
            'The request took longer than is allowed here, so it was ended; the key is healthy; try again, or ask the owner to raise the limit of this service.',
          ),
        ],
      },
      {
        item: '5 total time',
        says: 'within one: cut without the last chunk',
        from: 'tunnel',
        steps: [
          ...asked,
          { upstream: STREAM + EVENT, of: OF },
          { agentGets: STREAM + EVENT },
          { agentSees: 'end' },
          { upstreamSees: 'gone', of: OF },
        ],
      },
    ],
  },
  {
    limits: {},
    own: { idleTimeoutMs: 400 },
    rows: [
      {
        item: '5 idle time',
        says: 'a stream that says nothing is cut without the last chunk',
        from: 'tunnel',
        steps: [
          ...asked,
          { upstream: STREAM + EVENT, of: OF },
          { agentGets: STREAM + EVENT },
          { agentSees: 'end' },
          { upstreamSees: 'gone', of: OF },
        ],
      },
    ],
  },
];
