import net from 'node:net';
import tls from 'node:tls';
import { authorityText, type Scheme } from '../authority.ts';
import { CloseNotify } from '../close-notify.ts';
import { onceHeard } from '../first-flight.ts';
import { AgentSession } from '../h2/agent-session.ts';
import { canonicalHost } from '../http/target.ts';
import { authenticate } from '../policy/authenticate.ts';
import type { Worker } from '../worker.ts';
import { Http1Session } from './http1-session.ts';
import type { PlaceOf } from './place.ts';
import type { Session } from './session.ts';

const LINGER_MS = 1_000;
const PROTOCOLS = ['h2', 'http/1.1'];

type Phase = 'handshake' | 'idle' | 'head' | 'exchange' | 'closing';

/**
 * One agent's way to one host and port, TLS ended here, and how long it may stand. Rights are not decided here: every
 * request is. Without TLS, each request may say itself where it goes.
 */
export class Tunnel {
  readonly worker: Worker;
  readonly agent: string;
  readonly agentName: string;
  readonly host: string;
  readonly port: number;
  scheme: Scheme = 'https';
  /** Of the request in hand. */
  token: Buffer;
  /** How a request to this host and port names them. */
  readonly authority: string;
  #raw: net.Socket | undefined;
  #socket: net.Socket | undefined;
  /** Undefined until there is a protocol. */
  #session: Session | undefined;
  #phase: Phase = 'handshake';
  #deadline: number;
  #destroyed = false;

  constructor(
    worker: Worker,
    to: { agent: { id: string; name: string }; token: Buffer; host: string; port: number },
  ) {
    this.worker = worker;
    this.agent = to.agent.id;
    this.agentName = to.agent.name;
    this.host = to.host;
    this.port = to.port;
    this.token = to.token;
    this.authority = authorityText(to.host, to.port, this.scheme);
    this.#deadline = performance.now() + worker.settings.limits.handshakeTimeoutMs;
  }

  /** Takes the connection over, its CONNECT answered. */
  open(raw: net.Socket, secureContext: tls.SecureContext): void {
    this.#raw = raw;
    raw.on('error', () => this.destroy());
    raw.on('close', () => this.destroy());
    onceHeard(raw, () => {
      const socket = new tls.TLSSocket(raw, { isServer: true, secureContext, ALPNProtocols: PROTOCOLS });
      const closeNotify = this.#take(socket, raw);
      socket.on('secure', () => this.#secured(socket, closeNotify));
    });
  }

  /** The same without TLS. `placeOf` says where a request goes; throws where it may not be made here. */
  openPlain(socket: net.Socket, placeOf: PlaceOf): void {
    this.scheme = 'http';
    this.awaitRequest();
    this.#session = new Http1Session(this, socket, this.#take(socket, undefined), { placeOf });
    socket.resume();
  }

  #take(socket: net.Socket, under: net.Socket | undefined): CloseNotify {
    this.#raw = under ?? socket;
    this.#socket = socket;
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
    socket.on('end', () => {
      if (this.#session) this.#session.ended();
      else this.destroy();
    });
    return new CloseNotify(socket, under);
  }

  #secured(socket: tls.TLSSocket, closeNotify: CloseNotify): void {
    // RFC 9110, 7.4: answered as a request misdirected, once there is a request to answer.
    const name: unknown = Reflect.get(socket, 'servername');
    const misdirected = typeof name === 'string' && name !== '' && !this.#isOurHost(name);
    this.awaitRequest();
    this.#session =
      socket.alpnProtocol === 'h2'
        ? new AgentSession(this, socket, misdirected)
        : new Http1Session(this, socket, closeNotify, { misdirected });
  }

  #isOurHost(name: string): boolean {
    try {
      return canonicalHost(name) === this.host;
    } catch {
      return false; // not a host at all, so not this one
    }
  }

  get idle(): boolean {
    return this.#phase === 'idle';
  }

  get closing(): boolean {
    return this.#phase === 'closing';
  }

  awaitRequest(): void {
    this.#await('idle', this.worker.settings.limits.idleTimeoutMs);
  }

  /** A head has begun. */
  awaitHead(): void {
    this.#await('head', this.worker.settings.limits.headTimeoutMs);
  }

  /** A request is in hand, which has limits of its own. */
  carry(): void {
    this.#await('exchange', Number.POSITIVE_INFINITY);
  }

  /** The agent has been told that this ends, and has a moment to hear it. */
  linger(): void {
    this.#await('closing', LINGER_MS);
  }

  #await(phase: Phase, withinMs: number): void {
    this.#phase = phase;
    this.#deadline = performance.now() + withinMs;
  }

  checkDeadlines(now: number): void {
    this.#session?.checkDeadlines(now);
    if (now < this.#deadline) return;
    const { metrics } = this.worker;
    if (this.#phase === 'head') {
      metrics.limit('slow_head');
      this.#session?.headTimedOut();
    } else if (this.#phase === 'idle') {
      metrics.limit('idle');
      this.close();
    } else {
      if (this.#phase === 'handshake') metrics.limit('slow_handshake');
      this.destroy();
    }
  }

  /** A new policy is in force: an agent without a right to be here is cut off, and so is a stream without one. */
  recheck(): void {
    const gone = authenticate(this.worker.policy, this.agentName, this.token)?.id !== this.agent;
    if (this.#session?.recheck(gone) || gone) this.destroy();
  }

  drain(): void {
    if (this.#session) this.#session.drain();
    else this.close();
  }

  /** Ends our side, reading on for a moment so that unread bytes do not reset the answer away. */
  close(): void {
    this.linger();
    if (this.#session) return this.#session.close();
    const socket = this.#socket ?? this.#raw;
    socket?.end();
    socket?.resume();
  }

  /** Resets the connection: for an answer that is cut and whose framing does not show it. */
  reset(): void {
    tcpUnder(this.#raw)?.resetAndDestroy();
    this.destroy();
  }

  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#phase = 'closing';
    this.worker.dismiss(this);
    this.#session?.gone();
    (this.#socket ?? this.#raw)?.destroy();
    this.token.fill(0);
  }
}

/** The TCP connection under whatever TLS there is. */
function tcpUnder(socket: net.Socket | undefined): net.Socket | undefined {
  let under: unknown = socket;
  while (under instanceof tls.TLSSocket) under = Reflect.get(under, '_parent');
  return under instanceof net.Socket ? under : undefined;
}
