import { type CarryRow, INJECTED, SECRET } from '../support/carry.ts';

const GET = 'GET /events HTTP/1.1\r\nHost: HOST\r\n';
const STREAM = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n';

const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;

/** Each event must be with the agent before the next one is sent. */
function passed(events: readonly string[]): CarryRow['steps'] {
  return events.flatMap((event) => [{ upstream: event }, { agentGets: event }]);
}

export const STREAMS: readonly CarryRow[] = [
  {
    item: 'SSE',
    says: 'each event goes on when it comes, in chunks',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      ...passed([
        `${STREAM}Transfer-Encoding: chunked\r\n\r\n`,
        chunk('data: 1\n\n'),
        chunk(':\n\n'),
        chunk('data: 2\ndata: 3\n\n'),
      ]),
    ],
  },
  {
    item: 'SSE',
    says: 'and up to the end of the connection; an event that is cut in two goes on in two',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      { upstream: `${STREAM}\r\n` },
      { agentGets: `${STREAM}Connection: close\r\n\r\n` },
      ...passed(['data: 1\n\n', 'da', 'ta: 2\n', '\n']),
    ],
  },
  {
    item: 'SSE',
    says: 'up to eleven bytes that could begin the credential do not wait for the twelfth',
    steps: [
      { agent: `${GET}\r\n` },
      { upstreamGets: GET + INJECTED },
      ...passed([`${STREAM}Transfer-Encoding: chunked\r\n\r\n`, chunk(SECRET.slice(0, 11)), chunk('.')]),
    ],
  },
  {
    item: 'streams both ways',
    says: 'question and answer by turns, within one request and its response',
    steps: [
      { agent: 'POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n' },
      { upstreamGets: `POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n${INJECTED}` },
      { agent: chunk('one') },
      { upstreamGets: chunk('one') },
      { upstream: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' },
      { agentGets: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n' },
      ...passed([chunk('ONE')]),
      { agent: chunk('two') },
      { upstreamGets: chunk('two') },
      ...passed([chunk('TWO')]),
      { agent: '0\r\n\r\n' },
      { upstreamGets: '0\r\n\r\n' },
      ...passed(['0\r\n\r\n']),
      { agentSees: 'closed' },
    ],
  },
];
