import { catalogServices } from '../../catalog/catalog.ts';
import type { KeyType } from '../../channel/messages/keyholder.ts';
import { SallyportError } from '../../errors.ts';
import type { Changes } from '../changes.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { requireService } from '../services/services.ts';
import { type CredentialDrafts, type CredentialSet, type CredentialTerms, nextKey } from './draft.ts';
import { currentKey, keyTypeFor, type PublicHalf, publicHalf, signingExchange } from './hsm-keys.ts';
import { keyReference } from './key-reference.ts';

export interface CredentialCreated extends CredentialSet {
  readonly key: PublicHalf;
}

/** Credentials whose key is born in the HSM, and what is shown of them. */
export class BornKeys {
  readonly #changes: Changes;
  readonly #keyholder: KeyholderClient;
  readonly #drafts: CredentialDrafts;

  constructor(changes: Changes, keyholder: KeyholderClient, drafts: CredentialDrafts) {
    this.#changes = changes;
    this.#keyholder = keyholder;
    this.#drafts = drafts;
  }

  /**
   * Makes a credential whose key is born in the HSM, or a new version with a new key. `type`: as the service takes it,
   * unless told. Throws invalid_argument, invalid_credential, not_found, hsm_mechanism_missing and what `apply` throws.
   */
  async create(input: CredentialTerms, type?: KeyType): Promise<CredentialCreated> {
    const set = await this.#changes.apply(
      'credential.create',
      `${input.service}/${input.label}`,
      async (state) => {
        const exchange = signingExchange(requireService(state, input.service));
        if (!exchange) {
          const takers = [...catalogServices().values()]
            .filter((each) => signingExchange(each))
            .map(({ id }) => id);
          const message = `${input.service} takes no key that signs: set its secret with \`sallyport credential set\`. Of the catalog these take one: ${takers.sort().join(', ')}.`;
          throw new SallyportError('invalid_argument', message);
        }
        const { id, label } = nextKey(state, input);
        const keyType = keyTypeFor(exchange, type);
        const draft = await this.#drafts.draft(
          state,
          input,
          [{ name: exchange.key, value: keyReference(label) }],
          id,
        );
        await this.#keyholder.makeCredentialKey(label, keyType);
        return { ...draft, result: { ...draft.result, key: { label, exchange } } };
      },
    );
    const { key, ...credential } = set;
    return { ...credential, key: await publicHalf(this.#keyholder, key.label, key.exchange) };
  }

  /** The public half of a credential's key in the HSM. Throws not_found, hsm_unavailable, hsm_key_missing. */
  async publicKey(id: string): Promise<PublicHalf> {
    const key = await this.#changes.apply('credential.key', id, async (state) => {
      const credential = state.credential(id);
      const exchange = credential && signingExchange(requireService(state, credential.service));
      const label = exchange && (await currentKey(this.#keyholder, state, credential));
      return { rows: [], result: exchange && label !== undefined ? { label, exchange } : undefined };
    });
    if (!key) {
      const message = `No credential with a key in the HSM has the id ${id}; \`sallyport credential list\` shows all.`;
      throw new SallyportError('not_found', message);
    }
    return publicHalf(this.#keyholder, key.label, key.exchange);
  }
}
