import type net from 'node:net';
import { SallyportError } from '../../errors.ts';
import { onceHeard } from '../first-flight.ts';
import { problemResponse } from '../problem.ts';
import type { Worker } from '../worker.ts';
import { Approach } from './approach.ts';

const SWEEP_MS = 250;
/** What is turned away has so long to take our word; over TLS it may never come to hear it. */
const LINGER_MS = 1_000;

/** The connections that are not a tunnel yet, and how many of them nobody knows whose they are. */
export class Gate {
  readonly worker: Worker;
  readonly #approaches = new Set<Approach>();
  #strangers = 0;
  /** Those that have not said a word, and until when they have to. */
  readonly #silent = new Map<net.Socket, number>();

  constructor(worker: Worker) {
    this.worker = worker;
    // One timer for all: a connection is here for a millisecond, as a rule.
    setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  accept(socket: net.Socket): void {
    if (this.#isFull) return this.#turnAway(socket);
    this.#strangers++;
    this.#approaches.add(new Approach(this, socket));
  }

  /** The same for what `made` makes of a connection; not before its first bytes, which is to have its time for them. */
  acceptOnceHeard(raw: net.Socket, made: () => net.Socket): void {
    if (this.#isFull) return this.#turnAway(made());
    this.#silent.set(raw, performance.now() + this.worker.settings.limits.headTimeoutMs);
    raw.once('close', () => this.#silent.delete(raw));
    onceHeard(raw, () => {
      this.#silent.delete(raw);
      this.accept(made());
    });
  }

  get #isFull(): boolean {
    return this.#strangers + this.#silent.size >= this.worker.settings.limits.strangers;
  }

  /** The connection's agent has said who it is, or it is refused. */
  recognised(): void {
    this.#strangers--;
  }

  /** The connection is a tunnel now, or gone. */
  remove(approach: Approach): void {
    this.#approaches.delete(approach);
  }

  /** Says why, and keeps nothing: whoever floods us shall not fill our memory. */
  #turnAway(socket: net.Socket): void {
    const error = new SallyportError(
      'rate_limited',
      'Too many connections wait to be told whose they are: try again in a second.',
    );
    this.worker.metrics.limit('strangers');
    this.worker.metrics.problem(error.code);
    const gone = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => clearTimeout(gone));
    socket.once('finish', () => socket.destroy());
    socket.end(problemResponse(error, { close: true, bodiless: false, reason: true }));
  }

  #sweep(): void {
    const now = performance.now();
    for (const approach of this.#approaches) approach.checkDeadline(now);
    for (const [socket, deadline] of this.#silent) {
      if (now < deadline) continue;
      this.worker.metrics.limit('slow_approach');
      socket.destroy();
    }
  }
}
