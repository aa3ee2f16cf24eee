/** What one end does or must see, byte for byte (Latin-1). AUTH stands for the agent's Proxy-Authorization line. */
export type WayStep =
  | { readonly agent: string }
  | { readonly agentGets: string }
  | { readonly agentEnds: true }
  /** The next steps are those of another connection to the port, while the one before stays. */
  | { readonly newAgent: true }
  /** The proxy closes, with nothing more said. */
  | { readonly agentSees: 'end' | 'reset' }
  | { readonly upstream: string; readonly of: string }
  | { readonly upstreamGets: string; readonly of: string }
  /** `gone`: cut off, however TCP tells it. */
  | { readonly upstreamSees: 'end' | 'gone'; readonly of: string }
  /** No connection was opened to that server. */
  | { readonly untouched: string }
  | { readonly wait: number };

/** One behaviour of a way in, or of a limit: the requirement, and the bytes that show it. */
export interface WayRow {
  readonly item: string;
  readonly says: string;
  /** Where the agent begins: at the proxy's port, at the one with TLS, or in a tunnel to listed.test. */
  readonly from: 'port' | 'secure' | 'tunnel';
  readonly steps: readonly WayStep[];
}

const ESTABLISHED = 'HTTP/1.1 200 Connection established\r\n\r\n';
const INJECTED = 'Accept-Encoding: identity\r\nAuthorization: Bearer SECRET\r\n\r\n';

/** A refusal as the agent gets it. `phrase`: after CONNECT the sentence itself, since clients print that. */
export function problem(
  status: number,
  title: string,
  code: string,
  detail: string,
  { phrase = title, close = true, more = '', retryable = false } = {},
): string {
  const body = JSON.stringify({
    type: `urn:sallyport:error:${code}`,
    title,
    status,
    detail,
    code,
    retryable,
  });
  const fields = [
    `HTTP/1.1 ${status} ${phrase}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Sallyport-Error: ${code}`,
    'Cache-Control: no-store',
    ...(more === '' ? [] : [more]),
    ...(retryable ? ['Retry-After: 1'] : []),
    ...(close ? ['Connection: close'] : []),
  ];
  return `${fields.join('\r\n')}\r\n\r\n${Buffer.from(body).toString('latin1')}`;
}

const NOT_GRANTED =
  'none.test is not granted to this agent, so nothing was sent; no key is at fault, do not rotate any: ask the owner to run "sallyport grant add bot SERVICE" for the service on none.test.';
const OTHER_PORT =
  'Port 8443 of listed.test is not granted to this agent, so nothing was sent; no key is at fault, do not rotate any: ask the owner to run "sallyport grant add bot SERVICE" for the service on listed.test that uses port 8443.';
const PLAIN =
  'The credential for listed.test does not go out over plain http, so nothing was sent; the key is healthy: ask for the https:// address.';
const LOGIN =
  'Send Proxy-Authorization: Basic with this agent’s name and token; `sallyport agent rotate NAME` makes a new token.';

export const WAYS: readonly WayRow[] = [
  {
    item: '4 CONNECT',
    says: 'without credentials: 407 with a challenge, and the connection may ask again',
    from: 'port',
    steps: [
      { agent: 'CONNECT open.test:443 HTTP/1.1\r\nHost: open.test:443\r\n\r\n' },
      {
        agentGets: problem(407, 'Proxy Authentication Required', 'proxy_auth_required', LOGIN, {
          close: false,
          more: 'Proxy-Authenticate: Basic realm="sallyport"',
        }),
      },
      { agent: 'CONNECT open.test:443 HTTP/1.1\r\nHost: open.test:443\r\nAUTH\r\n' },
      { agentGets: ESTABLISHED },
    ],
  },
  {
    item: '4 CONNECT',
    says: 'to a host that no rule names, where the agent may: passed on byte for byte, both ways, with half-close',
    from: 'port',
    steps: [
      { agent: 'CONNECT open.test:443 HTTP/1.1\r\nHost: open.test:443\r\nAUTH\r\n\x16\x03\x01\x00' },
      { agentGets: ESTABLISHED },
      { upstreamGets: '\x16\x03\x01\x00', of: 'open.test:443' },
      { upstream: '\x00\xff\r\n\r\n', of: 'open.test:443' },
      { agentGets: '\x00\xff\r\n\r\n' },
      { agentEnds: true },
      { upstreamSees: 'end', of: 'open.test:443' },
      { upstream: 'last', of: 'open.test:443' },
      { agentGets: 'last' },
    ],
  },
  {
    item: '4 CONNECT',
    says: 'to another port of a granted host: 403, the sentence in the reason phrase too',
    from: 'port',
    steps: [
      { agent: 'CONNECT listed.test:8443 HTTP/1.1\r\nHost: listed.test:8443\r\nAUTH\r\n' },
      { agentGets: problem(403, 'Forbidden', 'host_not_granted', OTHER_PORT, { phrase: OTHER_PORT }) },
      { agentSees: 'end' },
      { untouched: 'listed.test:8443' },
    ],
  },
  {
    item: '4 absolute-form',
    says: 'an unlisted host gets the request in origin-form, without what was for the proxy',
    from: 'port',
    steps: [
      {
        agent:
          'GET http://open.test/a?b=c HTTP/1.1\r\nUser-Agent: x\r\nHost: open.test\r\nAUTH' +
          'Proxy-Connection: Keep-Alive\r\nConnection: x-hop\r\nX-Hop: 1\r\naccept-ENCODING: br\r\n\r\n',
      },
      {
        upstreamGets:
          'GET /a?b=c HTTP/1.1\r\nUser-Agent: x\r\nHost: open.test\r\naccept-ENCODING: br\r\n\r\n',
        of: 'open.test:80',
      },
      { upstream: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', of: 'open.test:80' },
      { agentGets: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok' },
      { agent: 'HEAD http://open.test HTTP/1.1\r\nHost: open.test\r\nAUTH\r\n' },
      { upstreamGets: 'HEAD / HTTP/1.1\r\nHost: open.test\r\n\r\n', of: 'open.test:80' },
    ],
  },
  {
    item: '4 absolute-form',
    says: 'a service that allows plain http gets its credential',
    from: 'port',
    steps: [
      { agent: 'GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\nAUTH\r\n' },
      { upstreamGets: `GET / HTTP/1.1\r\nHost: plain.test\r\n${INJECTED}`, of: 'plain.test:80' },
    ],
  },
  {
    item: '4 absolute-form',
    says: 'one that does not: 403, and the connection goes on',
    from: 'port',
    steps: [
      { agent: 'GET http://listed.test/ HTTP/1.1\r\nHost: listed.test\r\nAUTH\r\n' },
      { agentGets: problem(403, 'Forbidden', 'policy_denied', PLAIN, { close: false }) },
      { agent: 'GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\nAUTH\r\n' },
      { upstreamGets: `GET / HTTP/1.1\r\nHost: plain.test\r\n${INJECTED}`, of: 'plain.test:80' },
      { untouched: 'listed.test:80' },
    ],
  },
  {
    item: '4 absolute-form',
    says: 'a Host that differs: 421, and a close',
    from: 'port',
    steps: [
      { agent: 'GET http://open.test/ HTTP/1.1\r\nHost: plain.test\r\nAUTH\r\n' },
      {
        agentGets: problem(
          421,
          'Misdirected Request',
          'misdirected_request',
          'The request was refused because its Host differs from the host of its URL. Send the same host and port in both.',
          {
            phrase:
              'The request was refused because its Host differs from the host of its URL. Send the same host and port in both.',
          },
        ),
      },
      { agentSees: 'end' },
    ],
  },
  {
    item: '4 SOCKS5',
    says: 'greeting, login, request and their answers, then the bytes',
    from: 'port',
    steps: [
      { agent: '\x05\x02\x00\x02' },
      { agentGets: '\x05\x02' },
      { agent: 'LOGIN' },
      { agentGets: '\x01\x00' },
      { agent: '\x05\x01\x00\x03\x09open.test\x01\xbb' },
      { agentGets: '\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00' },
      { upstream: 'hello', of: 'open.test:443' },
      { agentGets: 'hello' },
      { agent: 'you' },
      { upstreamGets: 'you', of: 'open.test:443' },
    ],
  },
  {
    item: '4 SOCKS5',
    says: 'another command than CONNECT: reply 7, and a close',
    from: 'port',
    steps: [
      { agent: '\x05\x01\x02LOGIN\x05\x03\x00\x01\x7f\x00\x00\x01\x00\x50' },
      { agentGets: '\x05\x02\x01\x00\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00' },
      { agentSees: 'end' },
    ],
  },
  {
    item: '4 SOCKS5',
    says: 'a wrong password: status 1, and a close',
    from: 'port',
    steps: [
      { agent: '\x05\x01\x02\x01\x03bot\x05wrong' },
      { agentGets: '\x05\x02\x01\x01' },
      { agentSees: 'end' },
    ],
  },
  {
    item: '4 SOCKS5',
    says: 'port 80 is HTTP: requests are in origin-form',
    from: 'port',
    steps: [
      {
        agent:
          '\x05\x01\x02LOGIN\x05\x01\x00\x03\x0aplain.test\x00\x50GET / HTTP/1.1\r\nHost: plain.test\r\n\r\n',
      },
      { agentGets: '\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00' },
      { upstreamGets: `GET / HTTP/1.1\r\nHost: plain.test\r\n${INJECTED}`, of: 'plain.test:80' },
    ],
  },
];

export const DENIED: readonly WayRow[] = [
  {
    item: '4 --unlisted deny',
    says: 'CONNECT to a host that no rule names: 403',
    from: 'port',
    steps: [
      { agent: 'CONNECT none.test:443 HTTP/1.1\r\nHost: none.test:443\r\nAUTH\r\n' },
      { agentGets: problem(403, 'Forbidden', 'host_not_granted', NOT_GRANTED, { phrase: NOT_GRANTED }) },
      { agentSees: 'end' },
    ],
  },
  {
    item: '4 --unlisted deny',
    says: 'absolute-form: 403',
    from: 'port',
    steps: [
      { agent: 'GET http://none.test/ HTTP/1.1\r\nHost: none.test\r\nAUTH\r\n' },
      { agentGets: problem(403, 'Forbidden', 'host_not_granted', NOT_GRANTED, { close: false }) },
    ],
  },
  {
    item: '4 --unlisted deny',
    says: 'SOCKS5: reply 2',
    from: 'port',
    steps: [
      { agent: '\x05\x01\x02LOGIN\x05\x01\x00\x03\x09none.test\x01\xbb' },
      { agentGets: '\x05\x02\x01\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00' },
      { agentSees: 'end' },
    ],
  },
];
