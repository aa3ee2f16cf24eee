import { generateKeyPairSync } from 'node:crypto';
import tls from 'node:tls';
import { LRUCache } from 'lru-cache';
import { SallyportError } from '../errors.ts';
import { AGENT_TLS } from './agent-tls.ts';
import type { Metrics } from './metrics.ts';
import type { PolicyAgent } from './policy/match.ts';
import { renewTickets } from './renewed-tickets.ts';
import type { VaultClient } from './vault-client.ts';

const MAX_LEAVES = 2_000;
const REFUSED_MS = 1_000;
/** A leaf is replaced this long before it ends, for agents whose clock is fast. */
const MARGIN_MS = 10 * 60 * 1000;

/**
 * The TLS identities that this worker shows: one context per agent and host, with the leaf that the agent's own
 * authority gave for this worker's key. Each context has ticket keys of its own, the same in every worker: with shared
 * ones, agent A's session was resumed on B's tunnel (measured, ARCHITECTURE.md).
 */
export class Leaves {
  readonly #vault: VaultClient;
  readonly #metrics: Metrics;
  readonly #key: string;
  readonly #spki: Buffer;
  readonly #contexts = new LRUCache<string, tls.SecureContext>({ max: MAX_LEAVES });
  /** Agents that have had enough made for now, so that the vault is not asked for each of a flood. */
  readonly #refused = new LRUCache<string, SallyportError>({ max: MAX_LEAVES, ttl: REFUSED_MS });
  readonly #asked = new Map<string, Promise<tls.SecureContext>>();

  constructor(vault: VaultClient, metrics: Metrics) {
    this.#vault = vault;
    this.#metrics = metrics;
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    this.#spki = publicKey.export({ type: 'spki', format: 'der' });
  }

  /** The context for `agent` at `host`. Throws what VaultClient.leaf throws. */
  context(
    { id, authority }: PolicyAgent,
    host: string,
    port: number,
    token: Buffer,
  ): tls.SecureContext | Promise<tls.SecureContext> {
    const key = `${id} ${authority} ${host} ${port}`;
    const known = this.#contexts.get(key);
    if (known) return known;
    // One question per agent and host, however many tunnels open at once.
    const asking = this.#asked.get(key);
    if (asking) return asking;
    const refused = this.#refused.get(id);
    if (refused) this.#refuse(id, refused);
    const asked = this.#ask(key, id, host, port, token);
    this.#asked.set(key, asked);
    return asked;
  }

  #refuse(agent: string, error: SallyportError): never {
    if (!this.#refused.has(agent)) this.#refused.set(agent, error);
    this.#metrics.limit('leaf_rate');
    throw error;
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
        ...AGENT_TLS,
        sessionIdContext: 'sallyport',
      });
      renewTickets(context, ticketKeys);
      ticketKeys.fill(0);
      const ttl = notAfter - Date.now() - MARGIN_MS;
      if (ttl > 0) this.#contexts.set(key, context, { ttl });
      return context;
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'rate_limited') this.#refuse(agent, error);
      throw error;
    } finally {
      this.#asked.delete(key);
    }
  }
}
