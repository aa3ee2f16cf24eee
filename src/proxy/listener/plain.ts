import { SallyportError } from '../../errors.ts';
import type { RequestHead } from '../http/message.ts';
import { type Authority, parseAbsolute, parseHost } from '../http/target.ts';
import { authenticate } from '../policy/authenticate.ts';
import type { Place } from '../tunnel/place.ts';
import { Tunnel } from '../tunnel/tunnel.ts';
import type { Worker } from '../worker.ts';
import type { Approach } from './approach.ts';
import type { Opening } from './enter.ts';
import { type Entrant, requireServing } from './entrant.ts';
import { credentialsRequired, takeProxyCredentials } from './proxy-credentials.ts';

const HTTP_PORT = 80;
const SLASH = 0x2f;
const NOTHING = Buffer.alloc(0);

/**
 * Makes of an approach a connection without TLS, on which every request says in absolute-form where it goes (RFC 9112,
 * 3.2.2) and whose it is: they may go to many hosts, but are one agent's. `sent`: what has come so far, as it came.
 */
export function enterPlain(approach: Approach, { agent, token }: Entrant, sent: Buffer): void {
  const { worker } = approach;
  requireServing(worker);
  const tunnel = new Tunnel(worker, { agent, token, host: '', port: 0 });
  worker.admit(tunnel);
  const socket = approach.handOver(NOTHING, sent);
  if (socket) tunnel.openPlain(socket, (head) => absolutePlace(worker, agent.id, head));
  else tunnel.destroy();
}

/**
 * The same where the way in has said already whose the connection is and where it goes, and the requests on it are
 * written as for the server itself. `byHost`: an address was asked for, and each request's Host says which host that is.
 */
export function enterPlainAt(
  approach: Approach,
  { agent, token }: Entrant,
  to: Authority,
  byHost: boolean,
  { established, rest }: Opening,
): void {
  const { worker } = approach;
  requireServing(worker);
  const tunnel = new Tunnel(worker, { agent, token, ...to });
  worker.admit(tunnel);
  const socket = approach.handOver(established, rest);
  if (!socket) return tunnel.destroy();
  tunnel.openPlain(socket, (head) => ({ ...(byHost ? hostOf(head, to) : to), token }));
}

/** The host that the request names, which counts where the port is the one that was asked for. */
function hostOf({ bytes, fields, host }: RequestHead, to: Authority): Authority {
  if (host < 0) return to;
  const start = fields.offsets[4 * host + 2] ?? 0;
  const named = parseHost(bytes, start, fields.offsets[4 * host + 3] ?? 0, HTTP_PORT);
  return named.port === to.port ? named : to;
}

function absolutePlace(worker: Worker, agentId: string, head: RequestHead): Place {
  const who = takeProxyCredentials(head);
  try {
    const agent = who && authenticate(worker.policy, who.name, who.token);
    if (!who || agent?.id !== agentId) throw credentialsRequired();
    return { ...plainTarget(head), token: who.token };
  } catch (error) {
    who?.token.fill(0);
    throw error;
  }
}

/** Where a request without TLS goes. Throws where it is not for a proxy, or should have come in a tunnel. */
export function plainTarget(head: RequestHead): Authority {
  const { bytes, method, targetStart, targetEnd } = head;
  if (method === 'CONNECT') {
    const why = 'This connection carries plain requests: open another one for CONNECT.';
    throw new SallyportError('method_not_supported', why);
  }
  if (bytes[targetStart] === SLASH || (method === 'OPTIONS' && targetEnd - targetStart === 1)) {
    const why = 'This is a proxy: send CONNECT for an https:// address, or the whole URL of an http:// one.';
    throw new SallyportError('bad_request', why);
  }
  const { scheme, host, port } = parseAbsolute(bytes, targetStart, targetEnd);
  if (scheme === 'http') return { host, port };
  throw new SallyportError(
    'policy_denied',
    `${host} is asked for over https: reach it with CONNECT, as clients do that have a proxy for https:// addresses.`,
  );
}
