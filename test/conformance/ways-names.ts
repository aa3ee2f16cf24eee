import { problem, type WayRow, type WayStep } from './ways-in.ts';

const ESTABLISHED = 'HTTP/1.1 200 Connection established\r\n\r\n';
const DISGUISED =
  'The request was refused because a host in it looks like an address but is not four decimal parts. Send it again well-formed.';
const connect = (authority: string): WayStep => ({
  agent: `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\nAUTH\r\n`,
});

/** An address that no setting opens: refused in whatever form, before anything is dialled. */
function forbidden(authority: string, address: string, what: string): WayRow {
  const detail = `The address ${address} is ${what}. No setting allows it; use another address.`;
  return {
    item: '5 address guard',
    says: authority,
    from: 'port',
    steps: [
      connect(authority),
      { agentGets: problem(403, 'Forbidden', 'address_forbidden', detail, { phrase: detail }) },
      { agentSees: 'end' },
    ],
  };
}

/** One host, however it is written. */
function spelt(says: string, host: string): WayRow {
  return {
    item: '4 names',
    says,
    from: 'port',
    steps: [
      { agent: `GET http://${host}/a HTTP/1.1\r\nHost: ${host}\r\nAUTHX: y\r\n\r\n` },
      { upstreamGets: `GET /a HTTP/1.1\r\nHost: ${host}\r\nX: y\r\n\r\n`, of: 'open.test:80' },
      { upstream: 'HTTP/1.1 204 No Content\r\n\r\n', of: 'open.test:80' },
      { agentGets: 'HTTP/1.1 204 No Content\r\n\r\n' },
    ],
  };
}

/** For an agent that may reach what no rule names. */
export const NAMES: readonly WayRow[] = [
  spelt('upper case, as it was written on the wire', 'OPEN.test'),
  spelt('a trailing dot, too', 'open.test.'),
  spelt('the port that is meant anyway', 'open.test:80'),
  {
    item: '4 names',
    says: 'what a parser could read in two ways: 400, and a close',
    from: 'port',
    steps: [
      { agent: 'CONNECT 0x7f.1:443 HTTP/1.1\r\nHost: 0x7f.1:443\r\nAUTH\r\n' },
      {
        agentGets: problem(400, 'Bad Request', 'bad_request', DISGUISED, { phrase: DISGUISED }),
      },
      { agentSees: 'end' },
    ],
  },
  forbidden('0.0.0.0:443', '0.0.0.0', 'the unspecified address'),
  forbidden('[::]:443', '::', 'the unspecified address'),
  forbidden('169.254.169.254:443', '169.254.169.254', 'a cloud metadata service'),
  forbidden('[::ffff:169.254.169.254]:443', '::ffff:169.254.169.254', 'a cloud metadata service'),
  forbidden('[64:ff9b::a9fe:a9fe]:443', '64:ff9b::a9fe:a9fe', 'a cloud metadata service'),
  forbidden('[2002:a9fe:a9fe::1]:443', '2002:a9fe:a9fe::1', 'a cloud metadata service'),
  forbidden('224.0.0.1:443', '224.0.0.1', 'multicast'),
];

/** The same three ways in, within TLS. */
export const SECURE: readonly WayRow[] = [
  {
    item: '4 TLS listener',
    says: 'CONNECT, then bytes both ways',
    from: 'secure',
    steps: [
      connect('open.test:443'),
      { agentGets: ESTABLISHED },
      { agent: 'hello' },
      { upstreamGets: 'hello', of: 'open.test:443' },
      { upstream: 'world', of: 'open.test:443' },
      { agentGets: 'world' },
    ],
  },
  {
    item: '4 TLS listener',
    says: 'absolute-form',
    from: 'secure',
    steps: [
      { agent: 'GET http://open.test/ HTTP/1.1\r\nHost: open.test\r\nAUTH\r\n' },
      { upstreamGets: 'GET / HTTP/1.1\r\nHost: open.test\r\n\r\n', of: 'open.test:80' },
      { upstream: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', of: 'open.test:80' },
      { agentGets: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok' },
    ],
  },
  {
    item: '4 TLS listener',
    says: 'SOCKS5',
    from: 'secure',
    steps: [
      { agent: '\x05\x01\x02' },
      { agentGets: '\x05\x02' },
      { agent: 'LOGIN' },
      { agentGets: '\x01\x00' },
      { agent: '\x05\x01\x00\x03\x09open.test\x01\xbb' },
      { agentGets: '\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00' },
      { agent: 'hello' },
      { upstreamGets: 'hello', of: 'open.test:443' },
    ],
  },
];
