import { problem, type WayRow } from './ways-in.ts';

/** Small limits, so that each can be met: see the test. */
export const LIMITS = {
  headBytes: 1024,
  headFields: 16,
  targetBytes: 256,
  bodyBytes: 8,
  headTimeoutMs: 900,
  bodyTimeoutMs: 600,
};

const refused = (what: string): string => `The request was refused because ${what}`;
const LARGE_HEAD = refused('its head is larger than 1024 bytes. Send fewer or shorter fields.');
const MANY_FIELDS = refused('it has more than 16 fields. Send fewer or shorter fields.');
const LONG_TARGET = refused('its target is longer than 256 bytes. Shorten the URL.');
const LARGE_BODY =
  'The body is larger than the 8 bytes that are allowed here: send a smaller one, or ask the owner to raise the limit of this service.';
const LATE = 'The head of the request did not arrive in time: send it in one go.';
const LATE_APPROACH = 'No request arrived in time: send it at once after connecting.';
const LATE_BODY = 'The body of the request stopped coming: send it without long pauses.';
const VERSION = refused('its version is neither HTTP/1.1 nor HTTP/1.0. Send it as HTTP/1.1.');
const CODING = refused(
  'its Transfer-Encoding is not exactly "chunked". Send it chunked or with a Content-Length.',
);
const METHOD = refused('its method is longer than 32 bytes. Use a registered method.');
const FORWARDED = 'Accept-Encoding: identity\r\nAuthorization: Bearer SECRET\r\n\r\n';

/** A head that is refused the same way at the port and in a tunnel; each is followed by a close. */
function both(
  item: string,
  says: string,
  head: string,
  status: number,
  title: string,
  code: string,
  detail: string,
) {
  const row = (from: 'port' | 'tunnel', phrase: string): WayRow => ({
    item,
    says: `${says}, ${from === 'port' ? 'before a tunnel' : 'in a tunnel'}`,
    from,
    steps: [
      { agent: head },
      { agentGets: problem(status, title, code, detail, { phrase }) },
      { agentSees: 'end' },
      { untouched: 'listed.test:443' },
    ],
  });
  return [row('port', detail), row('tunnel', title)];
}

const TOO_LARGE = 'Request Header Fields Too Large';

export const LIMIT_ROWS: readonly WayRow[] = [
  ...both(
    '6 head size',
    '431',
    `GET / HTTP/1.1\r\nX: ${'x'.repeat(1024)}`,
    431,
    TOO_LARGE,
    'head_too_large',
    LARGE_HEAD,
  ),
  ...both(
    '6 header count',
    '431',
    `GET / HTTP/1.1\r\n${'A: b\r\n'.repeat(17)}\r\n`,
    431,
    TOO_LARGE,
    'head_too_large',
    MANY_FIELDS,
  ),
  ...both(
    '6 URL length',
    '414',
    `GET /${'x'.repeat(256)} HTTP/1.1\r\n`,
    414,
    'URI Too Long',
    'uri_too_long',
    LONG_TARGET,
  ),
  ...both(
    '6 version',
    '505',
    'GET / HTTP/2.0\r\n',
    505,
    'HTTP Version Not Supported',
    'version_not_supported',
    VERSION,
  ),
  ...both(
    '6 method',
    '501',
    `${'M'.repeat(33)} / HTTP/1.1\r\n`,
    501,
    'Not Implemented',
    'method_not_supported',
    METHOD,
  ),
  ...both(
    '6 coding',
    '501',
    'POST / HTTP/1.1\r\nHost: listed.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n',
    501,
    'Not Implemented',
    'coding_not_supported',
    CODING,
  ),
  {
    item: '6 slow heads',
    says: '408, before a tunnel',
    from: 'port',
    steps: [
      { agent: 'CONNECT ' },
      { wait: 500 },
      { agent: 'listed' },
      {
        agentGets: problem(408, 'Request Timeout', 'request_timeout', LATE_APPROACH, {
          phrase: LATE_APPROACH,
          retryable: true,
        }),
      },
      { agentSees: 'end' },
    ],
  },
  {
    item: '6 slow heads',
    says: '408, in a tunnel',
    from: 'tunnel',
    steps: [
      { agent: 'GET / HTTP/1.1\r\n' },
      { wait: 500 },
      { agent: 'Host: listed.test\r\n' },
      { agentGets: problem(408, 'Request Timeout', 'request_timeout', LATE, { retryable: true }) },
      { agentSees: 'end' },
    ],
  },
  {
    item: '6 body size',
    says: '413 to a length that is too large, nothing sent',
    from: 'tunnel',
    steps: [
      { agent: 'POST / HTTP/1.1\r\nHost: listed.test\r\nContent-Length: 9\r\n\r\n123456789' },
      { agentGets: problem(413, 'Payload Too Large', 'content_too_large', LARGE_BODY) },
      { agentSees: 'end' },
      { untouched: 'listed.test:443' },
    ],
  },
  {
    item: '6 body size',
    says: '413 to chunks that become too many, and the server never sees their end',
    from: 'tunnel',
    steps: [
      {
        agent: 'POST / HTTP/1.1\r\nHost: listed.test\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n',
      },
      {
        upstreamGets: `POST / HTTP/1.1\r\nHost: listed.test\r\nTransfer-Encoding: chunked\r\n${FORWARDED}8\r\n12345678\r\n`,
        of: 'listed.test:443',
      },
      { agent: '1\r\n9\r\n0\r\n\r\n' },
      { agentGets: problem(413, 'Payload Too Large', 'content_too_large', LARGE_BODY) },
      { agentSees: 'end' },
      { upstreamSees: 'gone', of: 'listed.test:443' },
    ],
  },
  {
    item: '6 slow bodies',
    says: '408, and the server never sees it whole',
    from: 'tunnel',
    steps: [
      { agent: 'POST / HTTP/1.1\r\nHost: listed.test\r\nContent-Length: 4\r\n\r\n12' },
      {
        upstreamGets: `POST / HTTP/1.1\r\nHost: listed.test\r\nContent-Length: 4\r\n${FORWARDED}12`,
        of: 'listed.test:443',
      },
      { agentGets: problem(408, 'Request Timeout', 'request_timeout', LATE_BODY, { retryable: true }) },
      { agentSees: 'end' },
      { upstreamSees: 'gone', of: 'listed.test:443' },
    ],
  },
  {
    item: '6 refusals',
    says: 'a fault inside a body that is on its way, the answer begun: a close that shows',
    from: 'tunnel',
    steps: [
      { agent: 'POST / HTTP/1.1\r\nHost: listed.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n' },
      {
        upstreamGets: `POST / HTTP/1.1\r\nHost: listed.test\r\nTransfer-Encoding: chunked\r\n${FORWARDED}1\r\na\r\n`,
        of: 'listed.test:443',
      },
      { upstream: 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', of: 'listed.test:443' },
      { agentGets: 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf' },
      { agent: 'nonsense\r\n' },
      { agentSees: 'end' },
      { upstreamSees: 'gone', of: 'listed.test:443' },
    ],
  },
];
