import type { MetricsReply } from '../channel/messages/worker.ts';

/** The limits that an agent can meet; what each is set to is in src/settings.ts. */
export type Limit =
  | 'strangers'
  | 'slow_approach'
  | 'tunnels_per_agent'
  | 'tunnel_rate'
  | 'leaf_rate'
  | 'slow_handshake'
  | 'slow_head'
  | 'slow_body'
  | 'body_size'
  | 'http2_flood'
  | 'slow_connect'
  | 'slow_answer'
  | 'answer_idle'
  | 'total_time'
  | 'idle';

/** What this worker counts, from its start. Each is a whole number that only grows. */
export class Metrics {
  readonly #problems = new Map<string, number>();
  readonly #limits = new Map<Limit, number>();

  /** Something was refused, or failed, with this code of errors.ts. */
  problem(code: string): void {
    this.#problems.set(code, (this.#problems.get(code) ?? 0) + 1);
  }

  /** A limit was met. */
  limit(name: Limit): void {
    this.#limits.set(name, (this.#limits.get(name) ?? 0) + 1);
  }

  report(): MetricsReply {
    return { problems: Object.fromEntries(this.#problems), limits: Object.fromEntries(this.#limits) };
  }
}
