import { type CarryRow, INJECTED, SECRET } from '../support/carry.ts';

const LINE = 'GET / HTTP/1.1\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** What becomes of a request's fields. */
function fields(item: string, says: string, sent: string, passed: string): CarryRow {
  return { item, says, steps: [{ agent: `${LINE}${sent}\r\n` }, { upstreamGets: LINE + passed }] };
}

/** What becomes of a response's fields. */
function answer(item: string, says: string, sent: string, passed: string): CarryRow {
  const head = (lines: string) => `HTTP/1.1 200 OK\r\n${lines}Content-Length: 2\r\n\r\nok`;
  return {
    item,
    says,
    steps: [
      { agent: `${LINE}Host: HOST\r\n\r\n` },
      { upstreamGets: `${LINE}Host: HOST\r\n${INJECTED}` },
      { upstream: head(sent) },
      { agentGets: head(passed) },
      { agent: `${LINE}Host: HOST\r\n\r\n` },
    ],
  };
}

function refused(item: string, says: string, head: string, status: string): CarryRow {
  return { item, says, steps: [{ agent: head }, { agentGets: `HTTP/1.1 ${status}\r\n` }] };
}

export const FIELDS: readonly CarryRow[] = [
  fields(
    'kept as sent',
    'order, case, duplicates and white space of the fields',
    'x-B: 2\r\nhOST: HOST\r\nX-a:1\r\nX-B:  2,\t3 \r\nCookie: a=1\r\nCookie: b=2\r\nEmpty:\r\n',
    `x-B: 2\r\nhOST: HOST\r\nX-a:1\r\nX-B:  2,\t3 \r\nCookie: a=1\r\nCookie: b=2\r\nEmpty:\r\n${INJECTED}`,
  ),
  fields(
    'kept as sent',
    'bytes beyond ASCII',
    'Host: HOST\r\nX: \xff\xe4\r\n',
    `Host: HOST\r\nX: \xff\xe4\r\n${INJECTED}`,
  ),
  fields(
    'no trace of us',
    'the agent’s own Via and Forwarded go on, none is added',
    'Host: HOST\r\nVia: 1.1 a\r\nForwarded: for=b\r\n',
    `Host: HOST\r\nVia: 1.1 a\r\nForwarded: for=b\r\n${INJECTED}`,
  ),
  fields(
    'hop-by-hop',
    'what Connection lists is taken out, and itself',
    'Host: HOST\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nx-hop: 2\r\nX: y\r\n',
    `Host: HOST\r\nX: y\r\n${INJECTED}`,
  ),
  fields(
    'hop-by-hop',
    'over several Connection fields',
    'Host: HOST\r\nConnection: A\r\nA: 1\r\nB: 2\r\nConnection: keep-alive, B\r\n',
    `Host: HOST\r\n${INJECTED}`,
  ),
  fields(
    'hop-by-hop',
    'the known ones, listed or not',
    'Host: HOST\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\nTE: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n',
    `Host: HOST\r\n${INJECTED}`,
  ),
  fields(
    'hop-by-hop',
    'Connection cannot take the injected field out',
    'Host: HOST\r\nConnection: Authorization\r\nAuthorization: Bearer mine\r\n',
    `Host: HOST\r\n${INJECTED}`,
  ),
  fields(
    'TE',
    'trailers is said to the server too',
    'Host: HOST\r\nTE: trailers\r\nConnection: TE\r\nX: y\r\n',
    `Host: HOST\r\nX: y\r\nAccept-Encoding: identity\r\nTE: trailers\r\nConnection: TE\r\nAuthorization: Bearer ${SECRET}\r\n\r\n`,
  ),
  fields(
    'TE',
    'in a list, the rest of which stays here',
    'Host: HOST\r\nTE: deflate;q=0.5 , Trailers\r\nConnection: TE, close\r\n',
    `Host: HOST\r\nAccept-Encoding: identity\r\nTE: trailers\r\nConnection: TE\r\nAuthorization: Bearer ${SECRET}\r\n\r\n`,
  ),
  fields(
    'Accept-Encoding',
    'identity in its place, once, since other codings could hide the credential',
    'Host: HOST\r\naccept-encoding: gzip, br\r\nX: y\r\nAccept-Encoding: zstd\r\n',
    `Host: HOST\r\naccept-encoding: identity\r\nX: y\r\nAuthorization: Bearer ${SECRET}\r\n\r\n`,
  ),
  fields(
    'one credential',
    'the agent’s own of that name, however spelt, is dropped',
    'Host: HOST\r\nauthorization: Bearer a\r\nAUTHORIZATION: Basic b\r\n',
    `Host: HOST\r\n${INJECTED}`,
  ),
  {
    item: 'targets',
    says: 'absolute-form of the tunnel’s host goes on in origin-form',
    steps: [
      { agent: 'GET https://HOST/a?b HTTP/1.1\r\nHost: HOST\r\n\r\n' },
      { upstreamGets: `GET /a?b HTTP/1.1\r\nHost: HOST\r\n${INJECTED}` },
    ],
  },
  {
    item: 'targets',
    says: 'with an empty path too',
    steps: [
      { agent: 'GET https://HOST?b HTTP/1.1\r\nHost: HOST\r\n\r\n' },
      { upstreamGets: `GET /?b HTTP/1.1\r\nHost: HOST\r\n${INJECTED}` },
    ],
  },
  {
    item: 'targets',
    says: 'OPTIONS * is about the server',
    steps: [
      { agent: 'OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n' },
      { upstreamGets: `OPTIONS * HTTP/1.1\r\nHost: HOST\r\n${INJECTED}` },
    ],
  },
  {
    item: 'targets',
    says: 'a Host that spells the tunnel’s in another way goes on as it was',
    steps: [
      { agent: 'GET / HTTP/1.1\r\nHost: hOsT.:443\r\n\r\n'.replace('hOsT', 'HOST') },
      { upstreamGets: `GET / HTTP/1.1\r\nHost: HOST.:443\r\n${INJECTED}` },
    ],
  },
  refused(
    'targets',
    'another Host is misdirected',
    `${LINE}Host: other.test\r\n\r\n`,
    '421 Misdirected Request',
  ),
  refused('targets', 'so is another port', `${LINE}Host: HOST:444\r\n\r\n`, '421 Misdirected Request'),
  refused(
    'targets',
    'so is http:// in this tunnel',
    'GET http://HOST:443/ HTTP/1.1\r\nHost: HOST:443\r\n\r\n',
    '421 Misdirected Request',
  ),
  refused(
    'methods',
    'CONNECT in a tunnel',
    'CONNECT HOST:443 HTTP/1.1\r\nHost: HOST\r\n\r\n',
    '501 Not Implemented',
  ),
  refused('methods', 'TRACE', 'TRACE / HTTP/1.1\r\nHost: HOST\r\n\r\n', '501 Not Implemented'),
  refused(
    'methods',
    'OPTIONS with Max-Forwards, which asks somebody on the way',
    'OPTIONS * HTTP/1.1\r\nHost: HOST\r\nMax-Forwards: 1\r\n\r\n',
    '501 Not Implemented',
  ),
  answer(
    'response fields',
    'kept as sent',
    'sEt-Cookie: a\r\nSet-Cookie: b\r\nX:\r\n',
    'sEt-Cookie: a\r\nSet-Cookie: b\r\nX:\r\n',
  ),
  answer(
    'response fields',
    'what concerns the server’s connection stays here',
    'Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nX: y\r\n',
    'X: y\r\n',
  ),
  answer(
    'response fields',
    'Alt-Svc would lead past the proxy',
    'Alt-Svc: h3=":443"\r\nX: y\r\n',
    'X: y\r\n',
  ),
  {
    item: 'response fields',
    says: 'a header that was split over packets',
    steps: [
      { agent: `${LINE}Host: HOST\r\n\r\n` },
      { upstreamGets: `${LINE}Host: HOST\r\n${INJECTED}` },
      { upstream: OK.slice(0, 7) },
      { wait: 20 },
      { upstream: OK.slice(7, 30) },
      { wait: 20 },
      { upstream: OK.slice(30) },
      { agentGets: OK },
    ],
  },
];
