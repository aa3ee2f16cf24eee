import type { Channel } from '../channel/channel.ts';
import { type FromWorker, LeafReply, SecretReply } from '../channel/messages/worker.ts';
import { SallyportError } from '../errors.ts';

/** Longer than the vault's own deadlines, for its HSM and for a token endpoint, so that its reason arrives rather than our impatience. */
const TIMEOUT_MS = 15_000;

export interface LeasedField {
  readonly name: string;
  readonly secret: boolean;
  readonly value: Buffer;
}

/**
 * What a worker may ask of the vault: what an agent needs, with the token of the agent that is talking to it, and its
 * own listener's certificate.
 */
export class VaultClient {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /**
   * A certificate for `spki` (DER) at `host`, by the agent's own authority, and the 48 bytes of ticket keys that all
   * workers share for this agent and host. Throws policy_denied, rate_limited, hsm_unavailable, vault_unavailable.
   */
  leaf(agent: string, host: string, port: number, token: Buffer, spki: Buffer) {
    const header: FromWorker = { type: 'leaf', agent, host, port };
    return this.#ask(header, [token, spki], (reply, [chain, ticketKeys]) => {
      if (!chain || !ticketKeys) throw malformed();
      return {
        notAfter: LeafReply.parse(reply).notAfter,
        chain: Buffer.from(chain),
        ticketKeys: Buffer.from(ticketKeys),
      };
    });
  }

  /** A certificate for `spki` (DER) by the proxy's own authority. Throws policy_denied, hsm_unavailable, vault_unavailable. */
  listenerLeaf(spki: Buffer) {
    const header: FromWorker = { type: 'listener-leaf' };
    return this.#ask(header, [spki], (reply, [chain]) => {
      if (!chain) throw malformed();
      return { notAfter: LeafReply.parse(reply).notAfter, chain: Buffer.from(chain) };
    });
  }

  /**
   * The fields of a credential, handed to `take` as views that are wiped when it returns, and how long they are good for
   * where that is known. Throws policy_denied, integrity_failed, hsm_unavailable, exchange_failed, exchange_refused,
   * vault_unavailable.
   */
  secret<T>(
    asked: Omit<Extract<FromWorker, { type: 'secret' }>, 'type'>,
    token: Buffer,
    take: (fields: readonly LeasedField[], maxAgeMs: number | undefined) => T,
  ): Promise<T> {
    const header: FromWorker = { type: 'secret', ...asked };
    return this.#ask(header, [token], (reply, parts) => {
      const { fields, maxAgeMs } = SecretReply.parse(reply);
      if (fields.length !== parts.length) throw malformed();
      return take(
        fields.map(({ name, secret }, index) => {
          const value = parts[index];
          if (!value) throw malformed();
          return { name, secret, value };
        }),
        maxAgeMs,
      );
    });
  }

  /** Tells the vault the journal's newest link. */
  head(file: string, link: number, hash: string): void {
    this.#channel.event({ type: 'head', file, link, hash } satisfies FromWorker);
  }

  async #ask<T>(
    header: FromWorker,
    parts: readonly Buffer[],
    take: (header: unknown, parts: readonly Buffer[]) => T,
  ): Promise<T> {
    try {
      return await this.#channel.request(header, parts, take, TIMEOUT_MS);
    } catch (error) {
      if (error instanceof SallyportError && error.code.startsWith('channel_')) throw vaultUnavailable(error);
      throw error;
    }
  }
}

export function vaultUnavailable(cause?: unknown): SallyportError {
  const message =
    'The vault is not answering, so nothing is forwarded; the key is healthy. Try again in a few seconds.';
  return new SallyportError('vault_unavailable', message, { cause });
}

function malformed(): SallyportError {
  return new SallyportError(
    'channel_malformed',
    'The vault answered in a form that this worker does not know.',
  );
}
