import { AuthoritiesReply } from '../../channel/messages/keyholder.ts';
import { copyOf } from '../keyholders/copy.ts';
import type { Keyholders } from '../keyholders/keyholders.ts';
import { MAKING_DEADLINE_MS } from '../keyholders/verbs.ts';
import { ecdsaSignature } from './der.ts';

/** The keys of authorities in the HSM, by their labels. Each throws hsm_unavailable. */
export class AuthorityKeys {
  readonly #keyholders: Keyholders;

  constructor(keyholders: Keyholders) {
    this.#keyholders = keyholders;
  }

  /** Makes one; its uncompressed point. */
  make(label: string): Promise<Buffer> {
    const header = { verb: 'authority.make', label } as const;
    return this.#keyholders.ask(header, [], (_header, parts) => copyOf(parts[0]), MAKING_DEADLINE_MS);
  }

  /** ECDSA P-256 with SHA-256 under that key, in DER. Throws hsm_key_missing too. */
  sign(label: string, message: Buffer): Promise<Buffer> {
    return this.#keyholders.ask({ verb: 'authority.sign', label }, [message], (_header, parts) =>
      ecdsaSignature(copyOf(parts[0])),
    );
  }

  destroy(label: string): Promise<void> {
    return this.#keyholders.ask({ verb: 'authority.destroy', label }, [], () => undefined);
  }

  labels(): Promise<string[]> {
    const take = (header: unknown) => AuthoritiesReply.parse(header).labels;
    return this.#keyholders.ask({ verb: 'authority.list' }, [], take);
  }
}
