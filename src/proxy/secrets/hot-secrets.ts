import { LRUCache } from 'lru-cache';
import type { Arena, Slot } from './arena.ts';
import { rinseStack } from './stack.ts';

/** One field of a credential. `value` is a view into the arena, valid while the lease is held. */
export interface LeasedField {
  readonly value: Buffer;
  readonly secret: boolean;
}

/** A counted hold on a decrypted credential. */
export interface Lease {
  /** Throws once the lease is released: the memory may hold another secret by then. */
  readonly fields: ReadonlyMap<string, LeasedField>;
  /** Ends this hold; calling it again changes nothing. */
  release(): void;
}

export interface HotSecretsOptions {
  /** Credentials kept at most. */
  readonly count: number;
  /** How long one is handed out after it was put, however often it is used. */
  readonly maxAgeMs: number;
  readonly arena: Arena;
  /** Milliseconds, monotonic; for tests. */
  readonly now?: () => number;
}

/** A credential in the arena, wiped when it is neither in the cache nor under a lease. */
class Credential {
  readonly fields: ReadonlyMap<string, LeasedField>;
  readonly #arena: Arena;
  readonly #slots: readonly Slot[];
  #holds = 1; // its maker's: the cache

  constructor(arena: Arena, slots: readonly Slot[], fields: ReadonlyMap<string, LeasedField>) {
    this.#arena = arena;
    this.#slots = slots;
    this.fields = fields;
  }

  lease(): Lease {
    this.#holds++;
    return new Hold(this);
  }

  drop(): void {
    this.#holds--;
    if (this.#holds > 0) return;
    for (const slot of this.#slots) this.#arena.free(slot);
    rinseStack();
  }
}

class Hold implements Lease {
  #credential: Credential | undefined;

  constructor(credential: Credential) {
    this.#credential = credential;
  }

  get fields(): ReadonlyMap<string, LeasedField> {
    if (!this.#credential) throw new Error('a credential was read after its lease was released');
    return this.#credential.fields;
  }

  release(): void {
    const credential = this.#credential;
    this.#credential = undefined;
    credential?.drop();
  }
}

/**
 * The decrypted credentials that a worker keeps, bounded by count, age and memory. What leaves the cache (by age,
 * count, replacement or removal) is wiped at once where nobody holds a lease on it, else when the last lease ends.
 */
export class HotSecrets {
  readonly #arena: Arena;
  readonly #cache: LRUCache<string, Credential>;
  readonly #maxAgeMs: number;

  constructor({ count, maxAgeMs, arena, now }: HotSecretsOptions) {
    this.#arena = arena;
    this.#maxAgeMs = maxAgeMs;
    this.#cache = new LRUCache<string, Credential>({
      max: count,
      ttl: maxAgeMs,
      ttlAutopurge: true, // timers (unreferenced) that wipe in an idle worker too
      ttlResolution: 0,
      dispose: (credential) => credential.drop(),
      ...(now ? { perf: { now } } : {}),
    });
  }

  get size(): number {
    return this.#cache.size;
  }

  get(key: string): Lease | undefined {
    return this.#cache.get(key)?.lease();
  }

  /**
   * Copies the fields in, replacing what `key` stood for, and leases them; the caller wipes the originals. Makes room
   * by evicting the least recently used. `maxAgeMs`: less than all are kept. Throws `internal` where credentials under
   * lease leave none.
   */
  put(
    key: string,
    fields: readonly { name: string; secret: boolean; value: Buffer }[],
    maxAgeMs = this.#maxAgeMs,
  ): Lease {
    this.#cache.delete(key);
    const credential = this.#place(fields);
    const lease = credential.lease(); // before the cache has it: the cache may drop it at once
    this.#cache.set(key, credential, { ttl: Math.min(maxAgeMs, this.#maxAgeMs) });
    return lease;
  }

  /** The same for fields that are used once: they are wiped when the lease ends. Throws as `put`. */
  lend(fields: readonly { name: string; secret: boolean; value: Buffer }[]): Lease {
    const credential = this.#place(fields);
    const lease = credential.lease();
    credential.drop();
    return lease;
  }

  #place(fields: readonly { name: string; secret: boolean; value: Buffer }[]): Credential {
    const slots: Slot[] = [];
    const leased = new Map<string, LeasedField>();
    try {
      for (const { name, secret, value } of fields) {
        while (!this.#arena.fits(value.length) && this.#cache.size > 0) this.#cache.pop();
        const slot = this.#arena.allocate(value);
        slots.push(slot);
        leased.set(name, { value: slot.bytes, secret });
      }
    } catch (error) {
      for (const slot of slots) this.#arena.free(slot);
      throw error;
    }
    return new Credential(this.#arena, slots, leased);
  }

  remove(key: string): void {
    this.#cache.delete(key);
  }

  /**
   * Drops every credential whose key is not in `keys`: called with what each new snapshot still allows. What follows a
   * key's second space tells apart what was made of one credential, and is not looked at.
   */
  retain(keys: ReadonlySet<string>): void {
    this.#cache.purgeStale(); // `keys` passes over them
    for (const key of [...this.#cache.keys()]) if (!keys.has(versionOf(key))) this.#cache.delete(key);
  }

  clear(): void {
    this.#cache.clear();
  }
}

function versionOf(key: string): string {
  return key.split(' ', 2).join(' ');
}
