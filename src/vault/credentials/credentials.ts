import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import type { PolicyRow } from '../../store/schema.ts';
import { type Shredding, shreddingOfAll } from '../../store/versions.ts';
import type { Change, Changes } from '../changes.ts';
import { tryKey } from '../exchange/try-key.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { PolicyState } from '../policy/state.ts';
import { requireService } from '../services/services.ts';
import { openBox, type SealedBox } from './box.ts';
import { checkClientPair } from './client-pair.ts';
import { firstKey } from './derive-signing-key.ts';
import {
  type CredentialDrafts,
  type CredentialSet,
  type CredentialTerms,
  nextKey,
  publicFieldsOf,
} from './draft.ts';
import { takesImport } from './hsm-keys.ts';
import { keyReference, refuseReferences } from './key-reference.ts';
import { checkSecrets, type SecretValue } from './values.ts';
import { shredded } from './versions.ts';

export interface CredentialInput extends CredentialTerms, SealedBox {
  /** Whether the secret goes into the HSM as a key: it is stored nowhere then. */
  readonly hsm?: boolean;
}

/** What has to be destroyed before no copy of what it held can be opened: of all versions that held something. */
export interface CredentialRemoved extends Shredding {
  readonly removed: string;
  /** Labels of the keys in the HSM that were its values. */
  readonly hsmKeys: readonly string[];
}

/** Sets and removes credentials. Clear values live here in wiped memory, for the length of a call. */
export class Credentials {
  readonly #changes: Changes;
  readonly #keyholder: KeyholderClient;
  readonly #drafts: CredentialDrafts;

  constructor(changes: Changes, keyholder: KeyholderClient, drafts: CredentialDrafts) {
    this.#changes = changes;
    this.#keyholder = keyholder;
    this.#drafts = drafts;
  }

  /**
   * Makes a credential, or a new version of the one that the service has under this label: it keeps its grants, and
   * public fields that are not given. Throws invalid_argument where the secret is to go into the HSM and cannot,
   * sealed_box_invalid, invalid_credential, not_found and what `apply` throws.
   */
  async set(input: CredentialInput): Promise<CredentialSet> {
    const plaintext = await openBox(this.#keyholder, input);
    try {
      const secrets = decodeFields(plaintext);
      refuseReferences(secrets);
      return await this.#changes.apply('credential.set', `${input.service}/${input.label}`, async (state) => {
        if (input.hsm) return this.#import(state, input, secrets);
        const draft = await this.#drafts.draft(state, input, secrets);
        const service = requireService(state, input.service);
        await tryKey(service, publicFieldsOf(state, input), secrets);
        checkClientPair(service, secrets);
        return draft;
      });
    } finally {
      plaintext.fill(0);
    }
  }

  /** A draft whose secret is in the HSM: until it is stored, nothing refers to that key, and the next start destroys it. */
  async #import(
    state: PolicyState,
    input: CredentialInput,
    secrets: readonly SecretValue[],
  ): Promise<Change<CredentialSet>> {
    const service = requireService(state, input.service);
    if (!takesImport(service)) {
      const message = `Only the secret access key of a service that signs (AWS) can be put into the HSM: set ${service.id} without --hsm.`;
      throw new SallyportError('invalid_argument', message);
    }
    checkSecrets(service, secrets);
    const { id, label } = nextKey(state, input);
    const stored = secrets.map((secret) =>
      secret.name === 'secret_access_key' ? { ...secret, value: keyReference(label) } : secret,
    );
    const draft = await this.#drafts.draft(state, input, stored, id);
    const secret = secrets.find(({ name }) => name === 'secret_access_key');
    const key = firstKey(secret?.value ?? Buffer.alloc(0));
    try {
      await this.#keyholder.importCredentialKey(label, key);
    } finally {
      key.fill(0);
    }
    return draft;
  }

  /** Removes a credential with its grants and shreds what is sealed. Throws not_found and what `apply` throws. */
  async remove(id: string): Promise<CredentialRemoved> {
    const { emptied, before } = await this.#changes.apply('credential.remove', id, (state) => {
      const credential = state.credential(id);
      if (!credential) {
        const message = `No credential has the id ${id}; \`sallyport credential list\` shows them.`;
        throw new SallyportError('not_found', message);
      }
      const removed_at = new Date().toISOString();
      const versions = state
        .heldVersions(credential)
        .map((version) => shredded(this.#keyholder, version, removed_at));
      const rows: PolicyRow[] = [{ table: 'credentials', row: { ...credential, removed_at } }, ...versions];
      for (const grant of state.grants()) {
        if (grant.credential === id) rows.push({ table: 'grants', row: { ...grant, removed_at } });
      }
      const detail = { service: credential.service, label: credential.label };
      // Those that were shredded before count too: the credential as a whole is gone once all of them are.
      const before = state
        .rows()
        .credential_versions.filter((row) => row.credential === id && row.sealed === null);
      return {
        rows,
        shreds: 'now',
        result: { emptied: versions.map(({ row }) => row), before },
        detail,
      };
    });
    const hsmKeys = emptied.flatMap(({ hsm_key }) => hsm_key ?? []);
    return {
      removed: id,
      hsmKeys,
      ...shreddingOfAll([...emptied, ...before], await this.#keyholder.heldKeys()),
    };
  }
}
