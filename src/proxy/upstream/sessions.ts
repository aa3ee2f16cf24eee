import { LRUCache } from 'lru-cache';

const MAX_KEYS = 1024;
/** RFC 8446, C.4: a ticket used twice lets an observer link connections, so there must be some for a burst. */
const PER_KEY = 4;
/** Far below what servers grant (a day and more): a certificate that was replaced counts again within the hour. */
const MAX_AGE_MS = 60 * 60 * 1000;

interface Kept {
  readonly session: Buffer;
  readonly until: number;
}

/**
 * TLS sessions to resume, for one trust set: whoever changes what is trusted begins a new cache. The key names
 * everything else that a session was verified or authenticated under. Sessions hold the keys of connections, and are
 * wiped once they are of no use.
 */
export class Sessions {
  readonly #kept = new LRUCache<string, Kept[]>({
    max: MAX_KEYS,
    dispose: (kept) => {
      for (const { session } of kept) session.fill(0);
    },
    noDisposeOnSet: true,
  });

  /** Keeps a session, and wipes the oldest of this key where there are more than four. */
  put(key: string, session: Buffer): void {
    const kept = this.#kept.get(key) ?? [];
    kept.push({ session, until: performance.now() + MAX_AGE_MS });
    if (kept.length > PER_KEY) kept.shift()?.session.fill(0);
    this.#kept.set(key, kept);
  }

  /** The newest session of the key. It is the caller's from then on: to wipe, or to put back where it may serve again. */
  take(key: string): Buffer | undefined {
    const kept = this.#kept.get(key);
    const newest = kept?.pop();
    if (!newest) return undefined;
    if (newest.until > performance.now()) return newest.session;
    newest.session.fill(0);
    this.#kept.delete(key); // the others are older
    return undefined;
  }

  /** Wipes what was kept for keys that begin with `prefix`. */
  drop(prefix: string): void {
    for (const key of [...this.#kept.keys()]) if (key.startsWith(prefix)) this.#kept.delete(key);
  }
}
