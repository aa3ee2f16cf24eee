import { SallyportError } from '../../errors.ts';
import { rootKeyBinding } from '../credentials/binding.ts';
import { type Envelope, openEnvelope, sealEnvelope } from '../credentials/envelope.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { signWith } from './certificate.ts';
import type { SigningRoot } from './issuer.ts';
import { certifyRoot, createRoot, type NewRoot, type RootOwner } from './root.ts';

/** Where the keys of new roots are: sealed in the store, or made in the HSM and never out of it. */
export type AuthorityKeys = 'wrapped' | 'hsm';

/** A root as it is stored. */
export interface StoredRoot {
  readonly owner: RootOwner;
  readonly certificate: Buffer;
  /** Its sealed key; null: the key is in the HSM. */
  readonly key: Envelope | null;
}

/** Makes the roots of agents and of the proxy, and signs with their keys, wherever those are. */
export class RootKeys {
  readonly #keyholder: KeyholderClient;
  readonly #where: AuthorityKeys;

  constructor(keyholder: KeyholderClient, where: AuthorityKeys) {
    this.#keyholder = keyholder;
    this.#where = where;
  }

  /** A new root. Until it is stored, nothing refers to a key in the HSM: `keepOnly` destroys it. Throws hsm_unavailable. */
  async create(root: NewRoot): Promise<StoredRoot> {
    const { id, label, number } = root;
    const owner = { id, label, number };
    if (this.#where === 'hsm') {
      const point = await this.#keyholder.authorities.make(label);
      const sign = (message: Buffer) => this.#keyholder.authorities.sign(label, message);
      return { owner, certificate: await certifyRoot(root, point, sign), key: null };
    }
    const { certificate, privateKey } = createRoot(root);
    try {
      const binding = rootKeyBinding(id, certificate);
      return { owner, certificate, key: await sealEnvelope(this.#keyholder, binding, privateKey) };
    } finally {
      privateKey.fill(0);
    }
  }

  /**
   * The root, to sign with. `stored` is asked for each signature: its key may have been wrapped anew. What signs throws
   * hsm_unavailable, hsm_key_missing, integrity_failed.
   */
  signing(stored: () => StoredRoot): SigningRoot {
    return { certificate: stored().certificate, sign: (message) => this.#sign(stored(), message) };
  }

  async #sign({ owner, certificate, key }: StoredRoot, message: Buffer): Promise<Buffer> {
    if (!key) return this.#keyholder.authorities.sign(owner.label, message);
    const privateKey = await openEnvelope(this.#keyholder, rootKeyBinding(owner.id, certificate), key);
    try {
      return signWith(privateKey, message);
    } finally {
      privateKey.fill(0);
    }
  }

  /**
   * Destroys the keys of roots that are stored no longer, those that were in the HSM. Throws hsm_unavailable: what stays
   * behind goes at the next start.
   */
  async destroy(roots: readonly StoredRoot[]): Promise<void> {
    try {
      for (const { owner, key } of roots) if (!key) await this.#keyholder.authorities.destroy(owner.label);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new SallyportError(
        'hsm_unavailable',
        `The change is made, but a key that nothing uses any more stays in the HSM until serve is started again: ${why}`,
        { cause },
      );
    }
  }

  /**
   * Destroys keys of authorities in the HSM that are not of `roots`, which are all that are stored: what a crash left
   * between HSM and store. Only for a store that is known to be the newest. Throws hsm_unavailable.
   */
  async keepOnly(roots: Iterable<StoredRoot>): Promise<void> {
    const kept = new Set([...roots].filter(({ key }) => !key).map(({ owner }) => owner.label));
    for (const label of await this.#keyholder.authorities.labels()) {
      if (!kept.has(label)) await this.#keyholder.authorities.destroy(label);
    }
  }
}
