export interface Rate {
  readonly perSecond: number;
  /** How many may come at once after a rest. */
  readonly burst: number;
  /** What comes faster waits its turn, so long at most; 0: it is refused. */
  readonly maxWaitMs: number;
}

/** Keys whose bucket is full are dropped once there are more than so many. */
const MANY_KEYS = 1_000;
/** Less than any rate's interval, more than the error of adding them up. */
const ROUNDING_MS = 1e-4;

/**
 * A token bucket for each key, kept as the one moment at which it will be full again (the generic cell rate algorithm,
 * ITU-T I.371).
 */
export class RateLimit {
  readonly #intervalMs: number;
  readonly #burstMs: number;
  readonly #maxWaitMs: number;
  readonly #fullAt = new Map<string, number>();
  #many = MANY_KEYS;

  constructor({ perSecond, burst, maxWaitMs }: Rate) {
    this.#intervalMs = 1_000 / perSecond;
    this.#burstMs = burst * this.#intervalMs;
    this.#maxWaitMs = maxWaitMs;
  }

  /** Takes a token of `key` at `now` (ms): how long to wait for it (ms), or undefined where there is none to be had. */
  take(key: string, now: number): number | undefined {
    const fullAt = Math.max(this.#fullAt.get(key) ?? 0, now) + this.#intervalMs;
    const wait = fullAt - now - this.#burstMs;
    if (wait > this.#maxWaitMs + ROUNDING_MS) return undefined;
    this.#fullAt.set(key, fullAt);
    if (this.#fullAt.size > this.#many) this.#drop(now);
    return Math.max(0, wait);
  }

  #drop(now: number): void {
    for (const [key, fullAt] of this.#fullAt) if (fullAt <= now) this.#fullAt.delete(key);
    this.#many = Math.max(MANY_KEYS, 2 * this.#fullAt.size);
  }
}
