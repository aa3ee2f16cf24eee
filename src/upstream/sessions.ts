import { LRUCache } from 'lru-cache';

const MAX_KEYS = 1024;
/** A ticket used twice lets an observer link connections (RFC 8446, C.4), so there must be some for a burst. */
const PER_KEY = 4;
/** Far below what servers grant (a day and more): a certificate that was replaced counts again within the hour. */
const MAX_AGE_MS = 60 * 60 * 1000;

/** A session and when it is to be used last, ms since 1970. */
export interface Resumable {
  readonly session: Buffer;
  readonly until: number;
}

/**
 * TLS sessions to resume, for one trust set: whoever changes what is trusted begins a new cache. The key names
 * everything else that a session was verified or authenticated under, since neither Node nor OpenSSL looks at the
 * name or the dates of a resumed session's certificate. Sessions hold keys of connections, and are wiped once they
 * are of no use.
 */
export class Sessions {
  readonly #kept = new LRUCache<string, Resumable[]>({
    max: MAX_KEYS,
    dispose: (kept) => {
      for (const { session } of kept) session.fill(0);
    },
    noDisposeOnSet: true,
  });

  /** Keeps a session, and wipes the oldest of this key where there are more than four. */
  put(key: string, resumable: Resumable): void {
    const kept = this.#kept.get(key) ?? [];
    kept.push(resumable);
    if (kept.length > PER_KEY) kept.shift()?.session.fill(0);
    this.#kept.set(key, kept);
  }

  /** The newest session of the key. It is the caller's: to wipe, or to put back where it may serve again. */
  take(key: string): Resumable | undefined {
    const kept = this.#kept.get(key);
    for (;;) {
      const newest = kept?.pop();
      if (!newest || newest.until > Date.now()) return newest;
      newest.session.fill(0);
    }
  }

  /** Wipes what was kept for keys that `isKept` does not keep. */
  retain(isKept: (key: string) => boolean): void {
    for (const key of [...this.#kept.keys()]) if (!isKept(key)) this.#kept.delete(key);
  }

  /** Wipes everything. */
  clear(): void {
    this.#kept.clear();
  }
}

/**
 * Until when a session may be used that a server offers now: its certificate's end at the latest. One offered on a
 * connection that was itself resumed lasts no longer than what it comes from, or verification could be put off for
 * ever.
 */
export function lastUse(validTo: number | undefined, resumed: Resumable | undefined): number {
  const limit = validTo ?? resumed?.until ?? 0;
  return Math.min(limit, Date.now() + MAX_AGE_MS);
}
