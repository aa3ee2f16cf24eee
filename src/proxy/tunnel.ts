import net from 'node:net';
import tls from 'node:tls';
import { SallyportError } from '../errors.ts';
import type { AgentSide } from './agent-side.ts';
import { authorityText, type Scheme } from './authority.ts';
import { CloseNotify } from './close-notify.ts';
import { Exchange } from './exchange.ts';
import { onceHeard } from './first-flight.ts';
import { AgentSession } from './h2/agent-session.ts';
import type { RequestHead } from './http/message.ts';
import { RequestReader } from './http/request.ts';
import { canonicalHost } from './http/target.ts';
import { authenticate } from './policy/authenticate.ts';
import { asSallyportError, problemResponse } from './problem.ts';
import type { Worker } from './worker.ts';

/** Requests that an agent sends ahead of the answer are held up to here; then it is no longer read. */
const MAX_HELD = 64 * 1024;
const MAX_HELD_CHUNKS = 64;
const LINGER_MS = 1_000;
const PROTOCOLS = ['h2', 'http/1.1'];
/** An agent that ended its side is looked for: the first write to one that has gone brings a reset, the next fails. */
const PROBES = 3;
const PROBE_MS = 35;
const PROCESSING = Buffer.from('HTTP/1.1 102 Processing\r\n\r\n', 'latin1');

type Phase = 'handshake' | 'idle' | 'head' | 'exchange' | 'closing';

/** Where a request goes, and the token that it was sent with. */
export interface Place {
  readonly host: string;
  readonly port: number;
  readonly token: Buffer;
}

/**
 * One agent's way to one host and port, TLS ended here: reads requests one after another, each an Exchange, answers
 * in order. Rights are not decided here: every request is. Without TLS, each request may say itself where it goes.
 */
export class Tunnel implements AgentSide {
  readonly worker: Worker;
  readonly agent: string;
  readonly grpc = false;
  /** Of the request in hand, as are host, port and token. */
  scheme: Scheme = 'https';
  host: string;
  port: number;
  token: Buffer;
  /** How a request to this host and port names them. */
  authority: string;
  #placeOf: ((head: RequestHead) => Place) | undefined;
  #agentName: string;
  #raw: net.Socket | undefined;
  #socket: net.Socket | undefined;
  #closeNotify: CloseNotify | undefined;
  readonly #reader: RequestReader;
  #exchange: Exchange | undefined;
  /** In place of reader and exchange where the agent speaks HTTP/2. */
  #http2: AgentSession | undefined;
  #held: Buffer | undefined;
  #heldChunks = 0;
  #phase: Phase = 'handshake';
  #deadline: number;
  #misdirected = false;
  #ended = false;
  #destroyed = false;

  constructor(
    worker: Worker,
    to: { agent: { id: string; name: string }; token: Buffer; host: string; port: number },
  ) {
    this.worker = worker;
    this.agent = to.agent.id;
    this.#agentName = to.agent.name;
    this.host = to.host;
    this.port = to.port;
    this.token = to.token;
    this.authority = authorityText(to.host, to.port, this.scheme);
    this.#reader = new RequestReader(worker.settings.limits);
    this.#deadline = performance.now() + worker.settings.limits.handshakeTimeoutMs;
  }

  get agentName(): string {
    return this.#agentName;
  }

  /** Takes the connection over, its CONNECT answered. */
  open(raw: net.Socket, secureContext: tls.SecureContext): void {
    this.#raw = raw;
    raw.on('error', () => this.destroy());
    raw.on('close', () => this.destroy());
    onceHeard(raw, () => {
      const socket = new tls.TLSSocket(raw, { isServer: true, secureContext, ALPNProtocols: PROTOCOLS });
      socket.on('secure', () => this.#secured(socket));
      this.#take(socket, raw);
    });
  }

  /** The same without TLS. `placeOf` says where a request goes; throws where it may not be made here. */
  openPlain(socket: net.Socket, placeOf: (head: RequestHead) => Place): void {
    this.scheme = 'http';
    this.#placeOf = placeOf;
    this.#await('idle', this.worker.settings.limits.idleTimeoutMs);
    this.#take(socket, undefined);
    this.#speakHttp1(socket);
    socket.resume();
  }

  #take(socket: net.Socket, under: net.Socket | undefined): void {
    this.#raw = under ?? socket;
    this.#socket = socket;
    this.#closeNotify = new CloseNotify(socket, under);
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
    socket.on('end', () => this.#onEnd());
  }

  #speakHttp1(socket: net.Socket): void {
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('drain', () => this.#exchange?.agentDrained());
  }

  #secured(socket: tls.TLSSocket): void {
    // RFC 9110, 7.4: answered as a request misdirected, once there is a request to answer.
    const name: unknown = Reflect.get(socket, 'servername');
    this.#misdirected = typeof name === 'string' && name !== '' && !this.#isOurHost(name);
    this.#await('idle', this.worker.settings.limits.idleTimeoutMs);
    if (socket.alpnProtocol === 'h2') this.#speakHttp2(socket);
    else this.#speakHttp1(socket);
  }

  #speakHttp2(socket: tls.TLSSocket): void {
    this.#http2 = new AgentSession(this, socket, this.#misdirected);
  }

  /** The agent has been told that this ends, and has a moment to hear it. */
  linger(): void {
    this.#await('closing', LINGER_MS);
  }

  /** A request over HTTP/2 has begun or ended. */
  streamsChanged(): void {
    if (this.#phase === 'closing') return;
    if (this.#http2?.busy) this.#await('exchange', Number.POSITIVE_INFINITY);
    else this.#await('idle', this.worker.settings.limits.idleTimeoutMs);
  }

  #isOurHost(name: string): boolean {
    try {
      return canonicalHost(name) === this.host;
    } catch {
      return false; // not a host at all, so not this one
    }
  }

  #onData(chunk: Buffer): void {
    if (this.#phase === 'closing') return;
    if (this.#held) this.#hold(chunk, 0);
    else this.#process(chunk);
  }

  #process(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && this.#phase !== 'closing') {
      const exchange = this.#exchange;
      if (exchange) {
        if (!exchange.takesBody) return this.#hold(chunk, at);
        at = exchange.forwardBody(chunk, at);
        continue;
      }
      try {
        const end = this.#reader.read(chunk, at);
        if (end < 0) {
          if (this.#phase === 'idle') this.#await('head', this.worker.settings.limits.headTimeoutMs);
          return;
        }
        at = end;
        if (this.#placeOf) this.#goTo(this.#placeOf(this.#reader.head));
      } catch (error) {
        return this.#refuseUnread(asSallyportError(error));
      }
      this.#await('exchange', Number.POSITIVE_INFINITY);
      this.#exchange = new Exchange(this, this.#reader.head, this.#misdirected);
      this.#exchange.start();
    }
  }

  #goTo({ host, port, token }: Place): void {
    if (token !== this.token) this.token.fill(0);
    this.token = token;
    this.host = host;
    this.port = port;
    this.authority = authorityText(host, port, this.scheme);
  }

  #hold(chunk: Buffer, at: number): void {
    const rest = chunk.subarray(at);
    this.#held = this.#held ? Buffer.concat([this.#held, rest]) : rest;
    this.#heldChunks++;
    const full = this.#held.length > MAX_HELD || this.#heldChunks > MAX_HELD_CHUNKS;
    if (full || this.#exchange?.wantsBody) this.#socket?.pause();
  }

  /** The exchange can take (more of) the request's body now, or is over: what was held goes on. */
  continue(): void {
    const held = this.#held;
    this.#held = undefined;
    this.#heldChunks = 0;
    if (held) this.#process(held);
    if (!this.#held) this.#socket?.resume();
  }

  pauseAgent(): void {
    this.#socket?.pause();
  }

  resumeAgent(): void {
    if (!this.#held) this.#socket?.resume();
  }

  /**
   * Writes to the agent; false where it should wait for `agentDrained`. `wiped` is zeroed once the bytes have been
   * encrypted: they may have held a credential before it was overwritten.
   */
  write(bytes: Buffer, wiped: Buffer | undefined): boolean {
    const socket = this.#socket;
    if (!socket || this.#destroyed) return true;
    if (!wiped) return socket.write(bytes);
    return socket.write(bytes, () => wiped.fill(0));
  }

  /** The exchange ended with its answer whole; `persistent`: the connection can take another request. */
  exchangeDone(persistent: boolean): void {
    this.#exchange = undefined;
    this.#reader.reset();
    if (!persistent || this.worker.draining) return this.#close();
    this.#await('idle', this.worker.settings.limits.idleTimeoutMs);
    if (this.#held) this.continue();
    if (this.#exchange) return;
    if (this.#ended) this.#close();
    else if (this.#socket?.isPaused()) this.#socket.resume();
  }

  /** The request in hand is whole: an end of the connection without a close_notify now means that nobody waits. */
  watchEnd(): void {
    this.#closeNotify?.look();
  }

  /** The same, for a request whose last bytes came in this very turn. */
  watchEndLater(): void {
    this.#closeNotify?.lookLater();
  }

  /** A head that cannot be read: recorded, answered, closed. */
  #refuseUnread(error: SallyportError): void {
    this.#phase = 'closing';
    // Without TLS it is the head that says where to: what stands here is of the request before.
    const { host, port } = this.#placeOf ? { host: '', port: 0 } : this;
    const asked = { agent: this.#agentName, method: '', host, port, path: '' };
    this.worker.stages.journal.refusal(asked, error, () => {
      this.write(problemResponse(error, { close: true, bodiless: false, reason: false }), undefined);
      this.#close();
    });
  }

  /** Ends our side, reading on for a moment so that unread bytes do not reset the answer away. */
  #close(): void {
    this.#held = undefined;
    this.linger();
    if (this.#http2) return this.#http2.close();
    this.#socket?.end();
    this.#socket?.resume();
  }

  #onEnd(): void {
    this.#ended = true;
    // Over HTTP/2 each request ends by itself: this is the agent going, as it is before there is a protocol.
    if (this.#http2 || this.#phase === 'handshake') return this.destroy();
    if (!this.#exchange) return this.#close();
    // A whole request is answered still, where the agent said that it only sends no more (half-close). Who says so
    // within an answer wants no more of it.
    const { answering, wantsBody } = this.#exchange;
    if (this.#closeNotify?.announced && this.#exchange.endSwitched()) return;
    if (answering || wantsBody || !this.#closeNotify?.announced) return this.destroy();
    this.#probe(PROBES);
  }

  /** Many clients say that they send no more when they go for good: nothing but an answer tells, if only a 102. */
  #probe(times: number): void {
    if (times === 0) return;
    // One after another: of two timers that a busy machine runs late, both would write before the reset is there.
    setTimeout(() => {
      const exchange = this.#exchange;
      if (!exchange || exchange.answering || exchange.head.minor === 0) return;
      this.write(PROCESSING, undefined);
      this.#probe(times - 1);
    }, PROBE_MS);
  }

  #await(phase: Phase, withinMs: number): void {
    this.#phase = phase;
    this.#deadline = performance.now() + withinMs;
  }

  checkDeadlines(now: number): void {
    this.#exchange?.checkDeadlines(now);
    this.#http2?.checkDeadlines(now);
    if (now < this.#deadline) return;
    const { metrics } = this.worker;
    if (this.#phase === 'head') {
      metrics.limit('slow_head');
      const why = 'The head of the request did not arrive in time: send it in one go.';
      this.#refuseUnread(new SallyportError('request_timeout', why));
    } else if (this.#phase === 'idle') {
      metrics.limit('idle');
      this.#close();
    } else {
      if (this.#phase === 'handshake') metrics.limit('slow_handshake');
      this.destroy();
    }
  }

  /** A new policy is in force: an agent without a right to be here is cut off, and so is a stream without one. */
  recheck(): void {
    const agent = authenticate(this.worker.policy, this.#agentName, this.token);
    this.#http2?.recheck();
    if (agent?.id === this.agent && !this.#exchange?.policyChanged()) return;
    this.#exchange?.revoked();
    this.destroy();
  }

  drain(): void {
    if (this.#http2?.busy) this.#http2.close();
    else if (!this.#exchange) this.#close();
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
    this.#exchange?.agentGone();
    this.#exchange = undefined;
    this.#http2?.destroy();
    (this.#socket ?? this.#raw)?.destroy();
    this.#held = undefined;
    this.token.fill(0);
  }
}

/** The TCP connection under whatever TLS there is. */
function tcpUnder(socket: net.Socket | undefined): net.Socket | undefined {
  let under: unknown = socket;
  while (under instanceof tls.TLSSocket) under = Reflect.get(under, '_parent');
  return under instanceof net.Socket ? under : undefined;
}
