import { type CarryRow, INJECTED, SECRET } from '../support/carry.ts';

/** RFC 6455, 1.3. */
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';

const LINE = 'GET /chat HTTP/1.1\r\nHost: HOST\r\n';
const asking = (upgrade: string, fields = `Sec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n`) =>
  `${LINE}${upgrade}${fields}`;
const UPGRADE = 'Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n';
const SOCKET_FIELDS = `Sec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n`;
const ASKED = `${LINE}Upgrade: websocket\r\n${SOCKET_FIELDS}Accept-Encoding: identity\r\nConnection: Upgrade\r\nAuthorization: Bearer ${SECRET}\r\n\r\n`;
const agreed = (fields: string) => `HTTP/1.1 101 Switching Protocols\r\n${fields}\r\n`;
const AGREED = agreed(
  `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${ACCEPT}\r\nSec-WebSocket-Protocol: a\r\n`,
);
const PASSED = agreed(
  `Sec-WebSocket-Accept: ${ACCEPT}\r\nSec-WebSocket-Protocol: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`,
);
const OPEN = [
  { agent: `${asking(UPGRADE)}\r\n` },
  { upstreamGets: ASKED },
  { upstream: AGREED },
  { agentGets: PASSED },
] as const;

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const NEXT = 'GET /next HTTP/1.1\r\nHost: HOST\r\n';

/** A frame as a server sends it: not masked. */
function frame(first: number, payload: string): string {
  const length = payload.length;
  const size =
    length < 126
      ? String.fromCharCode(length)
      : `\x7e${String.fromCharCode(length >> 8)}${String.fromCharCode(length & 0xff)}`;
  return String.fromCharCode(first) + size + payload;
}

/** One as an agent sends it, masked with zeros, so that it is readable here. */
function masked(first: number, payload: string): string {
  return `${String.fromCharCode(first, 0x80 | payload.length)}\0\0\0\0${payload}`;
}

/** An answer that is no agreement: what comes after it is an ordinary request, or nothing. */
function disagreed(says: string, answer: string): CarryRow {
  return {
    item: 'WebSocket, not a valid 101',
    says,
    steps: [
      { agent: `${asking(UPGRADE)}\r\n` },
      { upstreamGets: ASKED },
      { upstream: answer },
      { agentGets: 'HTTP/1.1 502 Bad Gateway\r\n' },
      { upstreamSees: 'gone' },
    ],
  };
}

/** A request that is no handshake: it goes on without the fields that would make a server switch. */
function ordinary(says: string, request: string, passed: string): CarryRow {
  return {
    item: 'WebSocket, not a handshake',
    says,
    steps: [
      { agent: request },
      { upstreamGets: passed },
      { upstream: AGREED },
      { agentGets: 'HTTP/1.1 502 Bad Gateway\r\n' },
    ],
  };
}

/** What a server sends that ends the connection before it reaches the agent. */
function cut(says: string, frames: string): CarryRow {
  return {
    item: 'WebSocket frames',
    says,
    steps: [...OPEN, { upstream: frames }, { agentSees: 'cut' }, { upstreamSees: 'gone' }],
  };
}

export const WEBSOCKET: readonly CarryRow[] = [
  {
    item: 'WebSocket',
    says: 'the credential goes into the handshake; after a valid 101 both sides’ bytes go through',
    steps: [
      ...OPEN,
      { agent: masked(0x81, 'hello') },
      { upstreamGets: masked(0x81, 'hello') },
      { upstream: frame(0x81, 'good day') },
      { agentGets: frame(0x81, 'good day') },
      { upstream: frame(0x82, 'x'.repeat(300)) },
      { agentGets: frame(0x82, 'x'.repeat(300)) },
    ],
  },
  {
    item: 'WebSocket',
    says: 'frames that came with the 101 follow it',
    steps: [
      { agent: `${asking(UPGRADE)}\r\n` },
      { upstreamGets: ASKED },
      { upstream: AGREED + frame(0x81, 'first') },
      { agentGets: PASSED + frame(0x81, 'first') },
    ],
  },
  {
    item: 'WebSocket',
    says: 'what an agent sends ahead waits for the 101',
    steps: [
      { agent: `${asking(UPGRADE)}\r\n${masked(0x81, 'early')}` },
      { upstreamGets: ASKED },
      { wait: 20 },
      { upstream: AGREED },
      { upstreamGets: masked(0x81, 'early') },
    ],
  },
  {
    item: 'WebSocket',
    says: 'fragments, control frames between them, close code and reason stay as they are',
    steps: [
      ...OPEN,
      { upstream: frame(0x01, 'frag') },
      { agentGets: frame(0x01, 'frag') },
      { upstream: frame(0x89, 'ping') + frame(0x00, 'me') + frame(0x80, 'nt') },
      { agentGets: frame(0x89, 'ping') + frame(0x00, 'me') + frame(0x80, 'nt') },
      { agent: masked(0x8a, 'ping') + masked(0x88, '\x03\xe9going') },
      { upstreamGets: masked(0x8a, 'ping') + masked(0x88, '\x03\xe9going') },
      { upstream: frame(0x88, '\x03\xe9going') },
      { upstreamEnds: 'closed' },
      { agentGets: frame(0x88, '\x03\xe9going') },
      { agentSees: 'closed' },
    ],
  },
  {
    item: 'WebSocket',
    says: 'an agent that ends its side lets the server say its last',
    steps: [
      ...OPEN,
      { agent: masked(0x88, '\x03\xe8') },
      { agentEnds: 'half' },
      { upstreamGets: masked(0x88, '\x03\xe8') },
      { upstream: frame(0x88, '\x03\xe8') },
      { agentGets: frame(0x88, '\x03\xe8') },
    ],
  },
  {
    item: 'WebSocket',
    says: 'an agent that goes takes the server’s connection with it',
    steps: [...OPEN, { agentEnds: 'abort' }, { upstreamSees: 'gone' }],
  },
  {
    item: 'WebSocket',
    says: 'a server that goes takes the agent’s connection with it',
    steps: [...OPEN, { upstreamEnds: 'reset' }, { agentSees: 'cut' }],
  },
  {
    item: 'WebSocket',
    says: 'no extension is offered, since compressed frames could not be searched',
    steps: [
      {
        agent: `${asking(UPGRADE, `Sec-WebSocket-Extensions: permessage-deflate\r\n${SOCKET_FIELDS}`)}\r\n`,
      },
      { upstreamGets: ASKED },
    ],
  },
  {
    item: 'WebSocket scrub',
    says: 'the credential is overwritten in a payload, the frame’s length stays',
    steps: [
      ...OPEN,
      { upstream: frame(0x81, `your key is ${SECRET}!`) },
      { agentGets: frame(0x81, `your key is ${'*'.repeat(SECRET.length)}!`) },
    ],
  },
  {
    item: 'WebSocket scrub',
    says: 'split over two frames of a message, in two packets',
    steps: [
      ...OPEN,
      { upstream: frame(0x01, SECRET.slice(0, 20)) },
      { wait: 20 },
      { upstream: frame(0x80, `${SECRET.slice(20)}.`) },
      { agentGets: frame(0x01, '*'.repeat(20)) + frame(0x80, `${'*'.repeat(SECRET.length - 20)}.`) },
    ],
  },
  cut('a masked frame from a server, which could not be searched', `\x81\x85\0\0\0\0hello`),
  cut('a frame of an extension that was not agreed to', frame(0xc1, 'deflated')),
  cut('a length beyond 2^53', '\x82\x7f\x80\0\0\0\0\0\0\0'),
  {
    item: 'WebSocket refused',
    says: 'it is an ordinary response; the next bytes are an ordinary request, under the rules',
    steps: [
      { agent: `${asking(UPGRADE)}\r\n` },
      { upstreamGets: ASKED },
      { upstream: OK },
      { agentGets: OK },
      { agent: `${NEXT}\r\n` },
      { upstreamGets: NEXT + INJECTED },
      { upstream: OK },
      { agentGets: OK },
    ],
  },
  {
    item: 'WebSocket refused',
    says: 'a request that was pipelined behind the handshake is one, with its own credential',
    steps: [
      { agent: `${asking(UPGRADE)}\r\n${NEXT}Authorization: Bearer mine\r\n\r\n` },
      { upstreamGets: ASKED },
      { upstream: 'HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n' },
      { agentGets: 'HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n' },
      { upstreamGets: NEXT + INJECTED },
    ],
  },
  {
    item: 'WebSocket refused',
    says: 'frames that were pipelined behind it are no request',
    steps: [
      { agent: `${asking(UPGRADE)}\r\n${masked(0x81, 'GET / HTTP/1.1')}` },
      { upstreamGets: ASKED },
      { upstream: OK },
      { agentGets: `${OK}HTTP/1.1 400 Bad Request\r\n` },
    ],
  },
  disagreed(
    'another Sec-WebSocket-Accept',
    agreed(
      'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n',
    ),
  ),
  disagreed('none', agreed('Upgrade: websocket\r\nConnection: Upgrade\r\n')),
  disagreed(
    'two',
    agreed(
      `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${ACCEPT}\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n`,
    ),
  ),
  disagreed(
    'another protocol',
    agreed(`Upgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n`),
  ),
  disagreed('no Connection', agreed(`Upgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n`)),
  disagreed(
    'an extension that was not offered',
    agreed(
      `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${ACCEPT}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n`,
    ),
  ),
  ordinary(
    'another protocol is not passed on',
    `${asking('Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAA\r\n', '')}\r\n`,
    LINE + INJECTED,
  ),
  ordinary(
    'nor is it beside WebSocket',
    `${asking('Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n')}\r\n`,
    LINE + SOCKET_FIELDS + INJECTED,
  ),
  ordinary(
    'without Connection: Upgrade',
    `${asking('Upgrade: websocket\r\n')}\r\n`,
    LINE + SOCKET_FIELDS + INJECTED,
  ),
  ordinary(
    'without a key whose answer could be checked',
    `${asking(UPGRADE, 'Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n')}\r\n`,
    `${LINE}Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n${INJECTED}`,
  ),
  ordinary(
    'with two keys',
    `${asking(UPGRADE, `Sec-WebSocket-Key: ${KEY}\r\n${SOCKET_FIELDS}`)}\r\n`,
    `${LINE}Sec-WebSocket-Key: ${KEY}\r\n${SOCKET_FIELDS}${INJECTED}`,
  ),
  ordinary(
    'with a body, which would run into the frames',
    `${asking(UPGRADE)}Content-Length: 2\r\n\r\nhi`,
    `${LINE}${SOCKET_FIELDS}Content-Length: 2\r\n${INJECTED}hi`,
  ),
];
