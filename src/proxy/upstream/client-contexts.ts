import { hash } from 'node:crypto';
import type tls from 'node:tls';
import { LRUCache } from 'lru-cache';

const MAX_CONTEXTS = 128;

/** What a connection shows of itself: a client certificate with its key, in one PEM text. A view, valid for the call. */
export type ClientIdentity = Buffer;

interface Entry {
  readonly context: tls.SecureContext;
  /** Which certificate it is made of, as a digest. */
  readonly digest: string;
  holds: number;
}

/**
 * TLS contexts that show a client certificate, by the credential that it is of. Each holds a private key in OpenSSL's memory: it is freed
 * when the context leaves here (by age, count, replacement or removal) and no handshake is under way with it; connections keep what they
 * were opened with until they close.
 */
export class ClientContexts {
  readonly #create: (identity: ClientIdentity) => tls.SecureContext;
  readonly #entries: LRUCache<string, Entry>;

  /** `maxAgeMs`: as hot secrets. `create` throws where the text is no certificate with its key. */
  constructor(maxAgeMs: number, create: (identity: ClientIdentity) => tls.SecureContext) {
    this.#create = create;
    this.#entries = new LRUCache<string, Entry>({
      max: MAX_CONTEXTS,
      ttl: maxAgeMs,
      ttlAutopurge: true,
      dispose: (entry) => drop(entry),
    });
  }

  /** Lends the context for `identity` until `use` has settled. Throws what `create` and `use` throw. */
  async with<T>(
    credential: string,
    identity: ClientIdentity,
    use: (context: tls.SecureContext) => Promise<T>,
  ): Promise<T> {
    const entry = this.#entry(credential, identity);
    entry.holds++;
    try {
      return await use(entry.context);
    } finally {
      drop(entry);
    }
  }

  /** Drops those of credentials that `isKept` does not keep. */
  retain(isKept: (credential: string) => boolean): void {
    for (const credential of [...this.#entries.keys()])
      if (!isKept(credential)) this.#entries.delete(credential);
  }

  #entry(credential: string, identity: ClientIdentity): Entry {
    const digest = hash('sha256', identity, 'hex');
    const known = this.#entries.get(credential);
    if (known?.digest === digest) return known;
    const made = { context: this.#create(identity), digest, holds: 1 };
    this.#entries.set(credential, made);
    return made;
  }
}

/** OpenSSL's part is freed with the last hold rather than when the object is collected. */
function drop(entry: Entry): void {
  entry.holds--;
  if (entry.holds > 0) return;
  const native: { close(): void } = entry.context.context;
  native.close();
}
