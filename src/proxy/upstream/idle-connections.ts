import type { UpstreamConnection } from './connection.ts';

interface Place {
  readonly key: string;
  readonly since: number;
}

/**
 * The connections that nobody uses, by key. The one used last is taken first, so that those of a past burst grow old
 * and go; there may be as many per key as there were callers, since one missing costs a handshake, and `maximum` of
 * all keys together. Whatever leaves here otherwise than by `take` is destroyed.
 */
export class IdleConnections {
  readonly #timeoutMs: number;
  readonly #maximum: number;
  /** In the order in which they became idle. */
  readonly #places = new Map<UpstreamConnection, Place>();
  readonly #stacks = new Map<string, UpstreamConnection[]>();
  #sweeper: NodeJS.Timeout | undefined;

  constructor(timeoutMs: number, maximum: number) {
    this.#timeoutMs = timeoutMs;
    this.#maximum = maximum;
  }

  get size(): number {
    return this.#places.size;
  }

  put(key: string, connection: UpstreamConnection): void {
    if (this.#places.has(connection)) return; // released twice
    this.#places.set(connection, { key, since: performance.now() });
    const stack = this.#stacks.get(key);
    if (stack) stack.push(connection);
    else this.#stacks.set(key, [connection]);
    if (this.#places.size > this.#maximum) this.#discardOldest();
    // One timer for all, and none while nothing is idle; it keeps no process alive.
    this.#sweeper ??= setInterval(() => this.#sweep(), Math.max(50, this.#timeoutMs / 8)).unref();
  }

  /** The connection of `key` that became idle last. */
  take(key: string): UpstreamConnection | undefined {
    const stack = this.#stacks.get(key);
    const connection = stack?.pop();
    if (!connection) return undefined;
    if (stack?.length === 0) this.#stacks.delete(key);
    this.#places.delete(connection);
    return connection;
  }

  /** Forgets a connection; false where it is not here. */
  remove(connection: UpstreamConnection): boolean {
    const place = this.#places.get(connection);
    if (!place) return false;
    this.#places.delete(connection);
    const stack = this.#stacks.get(place.key);
    stack?.splice(stack.indexOf(connection), 1);
    if (stack?.length === 0) this.#stacks.delete(place.key);
    return true;
  }

  /** Destroys a connection if it is idle. */
  discard(connection: UpstreamConnection): void {
    if (this.remove(connection)) connection.destroy();
  }

  #discardOldest(): void {
    for (const connection of this.#places.keys()) {
      this.discard(connection);
      return;
    }
  }

  #sweep(): void {
    const limit = performance.now() - this.#timeoutMs;
    for (const [connection, { since }] of this.#places) {
      if (since > limit) break;
      this.discard(connection);
    }
    if (this.#places.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }
}
