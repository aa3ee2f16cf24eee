import type net from 'node:net';
import { SallyportError } from '../../errors.ts';
import { authorityText, type Scheme } from '../authority.ts';
import type { CloseNotify } from '../close-notify.ts';
import type { AgentSide } from '../exchange/agent-side.ts';
import { Exchange } from '../exchange/exchange.ts';
import { RequestReader } from '../http/request.ts';
import { asSallyportError, problemResponse } from '../problem.ts';
import type { Worker } from '../worker.ts';
import { writeTaken } from '../write-once.ts';
import { HeldBytes } from './held-bytes.ts';
import type { Place, PlaceOf } from './place.ts';
import { probe } from './probe.ts';
import type { Session } from './session.ts';
import type { Tunnel } from './tunnel.ts';

/** A tunnel whose agent speaks HTTP/1.1: requests read one after another, each an Exchange, answered in order. */
export class Http1Session implements Session, AgentSide {
  readonly worker: Worker;
  readonly agent: string;
  readonly agentName: string;
  readonly scheme: Scheme;
  readonly grpc = false;
  host: string;
  port: number;
  authority: string;
  lastKey: AgentSide['lastKey'];
  readonly #tunnel: Tunnel;
  readonly #socket: net.Socket;
  readonly #closeNotify: CloseNotify;
  readonly #placeOf: PlaceOf | undefined;
  readonly #misdirected: boolean;
  readonly #reader: RequestReader;
  #exchange: Exchange | undefined;
  readonly #held = new HeldBytes();
  #ended = false;
  #gone = false;

  /** `placeOf`: as for Tunnel.openPlain. `misdirected`: the agent named another host in its handshake. */
  constructor(
    tunnel: Tunnel,
    socket: net.Socket,
    closeNotify: CloseNotify,
    { placeOf, misdirected = false }: { placeOf?: PlaceOf; misdirected?: boolean },
  ) {
    this.#tunnel = tunnel;
    this.#socket = socket;
    this.#closeNotify = closeNotify;
    this.#placeOf = placeOf;
    this.#misdirected = misdirected;
    this.worker = tunnel.worker;
    this.agent = tunnel.agent;
    this.agentName = tunnel.agentName;
    this.scheme = tunnel.scheme;
    this.host = tunnel.host;
    this.port = tunnel.port;
    this.authority = tunnel.authority;
    this.#reader = new RequestReader(tunnel.worker.settings.limits);
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('drain', () => this.#exchange?.agentDrained());
  }

  get token(): Buffer {
    return this.#tunnel.token;
  }

  #onData(chunk: Buffer): void {
    if (this.#tunnel.closing) return;
    if (this.#held.any) this.#hold(chunk, 0);
    else this.#process(chunk);
  }

  #process(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#tunnel.closing) {
      const exchange = this.#exchange;
      if (exchange) {
        if (!exchange.takesBody) return this.#hold(chunk, at);
        at = exchange.forwardBody(chunk, at);
        continue;
      }
      try {
        const end = this.#reader.read(chunk, at);
        if (end < 0) {
          if (this.#tunnel.idle) this.#tunnel.awaitHead();
          return;
        }
        at = end;
        if (this.#placeOf) this.#goTo(this.#placeOf(this.#reader.head));
      } catch (error) {
        return this.#refuseUnread(asSallyportError(error));
      }
      this.#tunnel.carry();
      this.#exchange = new Exchange(this, this.#reader.head, this.#misdirected);
      this.#exchange.start();
    }
  }

  #goTo({ host, port, token }: Place): void {
    if (token !== this.token) this.token.fill(0);
    this.#tunnel.token = token;
    if (host !== this.host || port !== this.port) this.lastKey = undefined;
    this.host = host;
    this.port = port;
    this.authority = authorityText(host, port, this.scheme);
  }

  #hold(chunk: Buffer, at: number): void {
    this.#held.add(chunk.subarray(at));
    if (this.#held.full || this.#exchange?.wantsBody) this.#socket.pause();
  }

  continue(): void {
    const held = this.#held.take();
    if (held) this.#process(held);
    if (!this.#held.any) this.#socket.resume();
  }

  pauseAgent(): void {
    this.#socket.pause();
  }

  resumeAgent(): void {
    if (!this.#held.any) this.#socket.resume();
  }

  write(bytes: Buffer): boolean {
    return this.#gone || writeTaken(this.#socket, bytes);
  }

  exchangeDone(persistent: boolean): void {
    this.#exchange = undefined;
    this.#reader.reset();
    if (!persistent || this.worker.draining) return this.#tunnel.close();
    this.#tunnel.awaitRequest();
    if (this.#held.any) this.continue();
    if (this.#exchange) return;
    if (this.#ended) this.#tunnel.close();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  refuse(): boolean {
    return false;
  }

  watchEnd(): void {
    this.#closeNotify.look();
  }

  watchEndLater(): void {
    this.#closeNotify.lookLater();
  }

  headTimedOut(): void {
    const why = 'The head of the request did not arrive in time: send it in one go.';
    this.#refuseUnread(new SallyportError('request_timeout', why));
  }

  /** A head that cannot be read: recorded, answered, closed. */
  #refuseUnread(error: SallyportError): void {
    this.#tunnel.linger();
    // Without TLS it is the head that says where to: what stands here is of the request before.
    const { host, port } = this.#placeOf ? { host: '', port: 0 } : this;
    const asked = { agent: this.agentName, method: '', host, port, path: '' };
    this.worker.stages.journal.refusal(asked, error, () => {
      this.write(problemResponse(error, { close: true, bodiless: false, reason: false }));
      this.#tunnel.close();
    });
  }

  ended(): void {
    this.#ended = true;
    if (!this.#exchange) return this.#tunnel.close();
    // A whole request is answered still, where the agent said that it only sends no more (half-close). Who says so
    // within an answer wants no more of it.
    const { answering, wantsBody } = this.#exchange;
    if (this.#closeNotify.announced && this.#exchange.endSwitched()) return;
    if (answering || wantsBody || !this.#closeNotify.announced) return this.#tunnel.destroy();
    probe(
      () => this.#exchange !== undefined && !this.#exchange.answering && this.#exchange.head.minor === 1,
      (bytes) => this.write(bytes),
    );
  }

  checkDeadlines(now: number): void {
    this.#exchange?.checkDeadlines(now);
  }

  recheck(gone: boolean): boolean {
    if (!gone && !this.#exchange?.policyChanged()) return false;
    this.#exchange?.revoked();
    return true;
  }

  drain(): void {
    if (!this.#exchange) this.#tunnel.close();
  }

  close(): void {
    this.#held.take();
    this.#socket.end();
    this.#socket.resume();
  }

  reset(): void {
    this.#tunnel.reset();
  }

  destroy(): void {
    this.#tunnel.destroy();
  }

  gone(): void {
    this.#gone = true;
    this.#exchange?.agentGone();
    this.#exchange = undefined;
    this.#held.take();
  }
}
