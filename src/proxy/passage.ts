import type net from 'node:net';
import tls from 'node:tls';
import { SallyportError } from '../errors.ts';
import { authenticate } from './policy/authenticate.ts';
import type { Connection, Worker } from './worker.ts';

/** How long a passage may be silent once the worker drains. */
const DRAIN_IDLE_MS = 1_000;

/**
 * An agent's way to a host that no rule of its names: bytes go both ways as they come, unread and without a
 * credential. Nothing in it is decided again, so that it ends with the agent's right to it.
 */
export class Passage implements Connection {
  readonly agent: string;
  readonly #worker: Worker;
  readonly #name: string;
  readonly #token: Buffer;
  readonly #host: string;
  readonly #port: number;
  readonly #startedAt = performance.now();
  readonly #opening = new AbortController();
  #idleMs: number;
  #record: number | undefined;
  #agentSocket: net.Socket | undefined;
  #upstream: net.Socket | undefined;
  #connectedAt = 0;
  #moved = 0;
  #movedAt = Number.POSITIVE_INFINITY;
  #destroyed = false;

  constructor(
    worker: Worker,
    to: { agent: { id: string; name: string }; token: Buffer; host: string; port: number },
  ) {
    this.#worker = worker;
    this.agent = to.agent.id;
    this.#name = to.agent.name;
    this.#token = to.token;
    this.#host = to.host;
    this.#port = to.port;
    this.#idleMs = worker.settings.limits.passedIdleTimeoutMs;
  }

  /** Writes the record, then connects. Where it throws, the passage is over. */
  async connect(method: string): Promise<void> {
    try {
      this.#record = await this.#intend(method);
      const to = { host: this.#host, port: this.#port, agent: this.agent };
      this.#upstream = await this.#worker.stages.pool.openPassage(to, this.#opening.signal);
      this.#opening.signal.throwIfAborted();
      this.#connectedAt = performance.now();
    } catch (error) {
      cut(this.#upstream);
      const code = error instanceof SallyportError ? error.code : 'internal';
      if (code === 'upstream_timeout') this.#worker.metrics.limit('slow_connect');
      this.#end(code);
      throw error;
    }
  }

  #intend(method: string): Promise<number> {
    const intent = {
      agent: this.#name,
      method,
      host: this.#host,
      port: this.#port,
      path: '',
      service: null,
      credential: null,
      version: null,
      decision: 'passed' as const,
      reason: 'unlisted',
    };
    return new Promise((resolve, reject) => {
      const id = this.#worker.stages.journal.intent(intent, (error) => (error ? reject(error) : resolve(id)));
    });
  }

  /** Passes on what comes from now on. */
  open(agent: net.Socket): void {
    const upstream = this.#upstream;
    this.#agentSocket = agent;
    if (this.#destroyed || !upstream || upstream.destroyed) return this.destroy();
    this.#movedAt = performance.now();
    agent.on('error', () => this.destroy('client_closed'));
    upstream.on('error', () => this.destroy('upstream_closed'));
    agent.on('close', () => this.#closed(upstream, 'client_closed'));
    upstream.on('close', () => this.#closed(agent, 'upstream_closed'));
    agent.pipe(upstream);
    upstream.pipe(agent);
  }

  /** One side is gone: in order where the other has been told its end. */
  #closed(other: net.Socket, why: 'client_closed' | 'upstream_closed'): void {
    if (!other.writableEnded) this.destroy(why);
    else if (other.destroyed) this.#end(null);
  }

  checkDeadlines(now: number): void {
    const moved = (this.#upstream?.bytesRead ?? 0) + (this.#upstream?.bytesWritten ?? 0);
    if (moved !== this.#moved) {
      this.#moved = moved;
      this.#movedAt = now;
    } else if (now - this.#movedAt > this.#idleMs) {
      this.#worker.metrics.limit('idle');
      this.destroy('request_timeout');
    }
  }

  recheck(): void {
    const { policy } = this.#worker;
    const agent = authenticate(policy, this.#name, this.#token);
    if (agent?.id !== this.agent || !policy.passes(agent.id, this.#host, this.#port)) {
      this.destroy('policy_denied');
    }
  }

  drain(): void {
    this.#idleMs = DRAIN_IDLE_MS;
  }

  /** Cuts both sides off, neither of which can take that for an end in order. */
  destroy(
    why: 'client_closed' | 'upstream_closed' | 'request_timeout' | 'policy_denied' | null = null,
  ): void {
    if (this.#destroyed) return;
    const message = 'The right to reach this host has just been taken away, so nothing was sent.';
    this.#opening.abort(new SallyportError('policy_denied', message));
    this.#end(why);
    cut(this.#upstream);
    cut(this.#agentSocket);
  }

  #end(error: string | null): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#worker.dismiss(this);
    this.#token.fill(0);
    if (this.#record === undefined) return;
    const now = performance.now();
    this.#worker.stages.journal.outcome(this.#record, {
      status: null,
      error,
      overheadMs: (this.#connectedAt || now) - this.#startedAt,
      totalMs: now - this.#startedAt,
      bytesUp: this.#upstream?.bytesWritten ?? 0,
      bytesDown: this.#upstream?.bytesRead ?? 0,
    });
  }
}

function cut(socket: net.Socket | undefined): void {
  // An end of TLS without a close_notify is no end in order; of TCP alone, only a reset is none.
  if (socket instanceof tls.TLSSocket) socket.destroy();
  else socket?.resetAndDestroy();
}
