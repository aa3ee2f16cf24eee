import { generateKeyPairSync } from 'node:crypto';
import tls from 'node:tls';
import { LRUCache } from 'lru-cache';
import type { VaultClient } from './vault-client.ts';

const MAX_LEAVES = 2_000;
/** A leaf is replaced this long before it ends, for agents whose clock is fast. */
const MARGIN_MS = 10 * 60 * 1000;

/**
 * The TLS identities that this worker shows: one context per agent and host, with the leaf that the agent's own
 * authority gave for this worker's key. Each context has ticket keys of its own, the same in every worker: with shared
 * ones, agent A's session was resumed on B's tunnel (measured, ARCHITECTURE.md).
 */
export class Leaves {
  readonly #vault: VaultClient;
  readonly #key: string;
  readonly #spki: Buffer;
  readonly #contexts = new LRUCache<string, tls.SecureContext>({ max: MAX_LEAVES });
  readonly #asked = new Map<string, Promise<tls.SecureContext>>();

  constructor(vault: VaultClient) {
    this.#vault = vault;
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    this.#spki = publicKey.export({ type: 'spki', format: 'der' });
  }

  /** The context for `agent` (its id) at `host`. Throws what VaultClient.leaf throws. */
  context(
    agent: string,
    host: string,
    port: number,
    token: Buffer,
  ): tls.SecureContext | Promise<tls.SecureContext> {
    const key = `${agent} ${host} ${port}`;
    const known = this.#contexts.get(key);
    if (known) return known;
    // One question per agent and host, however many tunnels open at once.
    const asked = this.#asked.get(key) ?? this.#ask(key, agent, host, port, token);
    this.#asked.set(key, asked);
    return asked;
  }

  async #ask(
    key: string,
    agent: string,
    host: string,
    port: number,
    token: Buffer,
  ): Promise<tls.SecureContext> {
    try {
      const { chain, ticketKeys, notAfter } = await this.#vault.leaf(agent, host, port, token, this.#spki);
      const context = tls.createSecureContext({
        key: this.#key,
        cert: chain,
        ticketKeys,
        minVersion: 'TLSv1.2',
        sessionIdContext: 'sallyport',
      });
      ticketKeys.fill(0);
      const ttl = notAfter - Date.now() - MARGIN_MS;
      if (ttl > 0) this.#contexts.set(key, context, { ttl });
      return context;
    } finally {
      this.#asked.delete(key);
    }
  }
}
