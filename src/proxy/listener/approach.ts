import type net from 'node:net';
import { SallyportError } from '../../errors.ts';
import { asSallyportError } from '../problem.ts';
import type { Worker } from '../worker.ts';
import { FirstBytes } from './first-bytes.ts';
import type { Gate } from './gate.ts';
import { HttpWay } from './http.ts';
import { Socks5Way } from './socks5-way.ts';

/** The first byte of SOCKS5; no HTTP request begins with it. */
const SOCKS5 = 5;
/** Between our last word and the end: closing over unread bytes would reset that word away. */
const LINGER_MS = 1_000;

/** A protocol by which an agent says who it is and where it wants to go. */
export interface Way {
  /** Takes the next bytes. Throws where they cannot be read. */
  read(chunk: Buffer): void;
  /** What it answers where the agent is refused. */
  refusal(error: SallyportError): Buffer;
  /** The connection is gone. */
  gone?(): void;
}

/** What the record of a refused approach says of it. */
export interface Asked {
  agent: string | null;
  method: string;
  host: string;
  port: number;
  path: string;
}

type Phase = 'reading' | 'deciding' | 'closing' | 'over';

/** One connection until it is a tunnel or refused. */
export class Approach {
  readonly worker: Worker;
  readonly #gate: Gate;
  readonly #socket: net.Socket;
  #way: Way | undefined;
  #phase: Phase = 'reading';
  #stranger = true;
  #deadline: number;

  constructor(gate: Gate, socket: net.Socket) {
    this.#gate = gate;
    this.worker = gate.worker;
    this.#socket = socket;
    this.#deadline = performance.now() + this.worker.settings.limits.headTimeoutMs;
    socket.on('error', () => socket.destroy());
    socket.on('close', this.#onClose);
    socket.on('end', this.#onEnd);
    socket.on('data', this.#onData);
  }

  get gone(): boolean {
    return this.#socket.destroyed;
  }

  readonly #onData = (chunk: Buffer): void => {
    try {
      this.#way ??= chunk[0] === SOCKS5 ? new Socks5Way(this) : new HttpWay(this);
      this.#way.read(chunk);
    } catch (error) {
      const refusal = asSallyportError(error);
      this.worker.metrics.problem(refusal.code); // nobody is known whom a record could name
      this.deny(refusal);
    }
  };

  readonly #onEnd = (): void => void this.#socket.end();

  readonly #onClose = (): void => {
    this.#way?.gone?.();
    this.#leave();
  };

  #leave(): void {
    this.#phase = 'over';
    this.recognised();
    this.#gate.remove(this);
  }

  /** It is known whose connection this is. */
  recognised(): void {
    if (this.#stranger) this.#gate.recognised();
    this.#stranger = false;
  }

  /** Reads no further for now: what follows is for the tunnel, or for the next question. */
  hold(): void {
    this.#phase = 'deciding';
    this.#socket.pause();
  }

  /** Answers, and reads the next question; it has what is left of the time. */
  answer(bytes: Buffer): void {
    this.#socket.write(bytes);
    this.#phase = 'reading';
    this.#socket.resume();
  }

  /**
   * Answers that the agent is connected, and resolves with what it sends then, once that is `enough`. From here on it
   * can be told no more than a TLS client can. Throws client_closed.
   */
  firstBytes(established: Buffer, rest: Buffer, enough: (bytes: Buffer) => boolean): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const take = (bytes: Buffer): void => {
        this.hold();
        resolve(bytes);
      };
      this.#way = new FirstBytes(enough, take, reject);
      this.#deadline = performance.now() + this.worker.settings.limits.handshakeTimeoutMs;
      this.answer(established);
      if (rest.length > 0) this.#onData(rest);
    });
  }

  /** Answers, and closes. */
  close(bytes: Buffer): void {
    if (this.gone) return;
    this.#phase = 'closing';
    this.recognised();
    this.#deadline = performance.now() + LINGER_MS;
    this.#socket.off('data', this.#onData);
    this.#socket.on('data', () => {});
    this.#socket.resume();
    this.#socket.end(bytes);
  }

  /** Records a refusal, then answers with it and closes. */
  refuse(asked: Asked, error: SallyportError): void {
    this.worker.stages.journal.refusal(asked, error, (unwritten) => this.deny(unwritten ?? error));
  }

  /** The same for what is on record already. */
  deny(error: SallyportError): void {
    if (this.#way) this.close(this.#way.refusal(error));
  }

  /**
   * Gives the connection away, `established` answered and `rest`, which was read too far, put back; undefined where it
   * is gone.
   */
  handOver(established: Buffer, rest: Buffer): net.Socket | undefined {
    const socket = this.#socket;
    if (this.gone) return undefined;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    this.#leave();
    if (established.length > 0) socket.write(established);
    if (rest.length > 0) socket.unshift(rest);
    return socket;
  }

  checkDeadline(now: number): void {
    if (now < this.#deadline || this.#phase === 'deciding') return;
    if (this.#phase !== 'reading') return void this.#socket.destroy();
    const message = 'No request arrived in time: send it at once after connecting.';
    const error = new SallyportError('request_timeout', message);
    this.worker.metrics.limit('slow_approach');
    this.worker.metrics.problem(error.code);
    this.#way ??= new HttpWay(this);
    this.deny(error);
  }
}
