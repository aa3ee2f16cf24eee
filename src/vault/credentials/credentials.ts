import { compileHosts, compileInjection } from '../../catalog/rule.ts';
import type { KeyType } from '../../channel/messages/keyholder.ts';
import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import { readFields } from '../../store/columns.ts';
import type { CredentialsTable, PolicyRow } from '../../store/schema.ts';
import { type Change, type Changes, newId, UNSIGNED } from '../changes.ts';
import { tryKey } from '../exchange/material.ts';
import { draftGrant, requireAgent } from '../grants/grants.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { PolicyState } from '../policy/state.ts';
import { draftService, requireService } from '../services/services.ts';
import { openBox, type SealedBox } from './box.ts';
import { checkClientPair } from './client-pair.ts';
import { firstKey } from './derive-signing-key.ts';
import {
  currentKey,
  keyLabel,
  keyReference,
  keyTypeFor,
  type PublicHalf,
  publicHalf,
  refuseReferences,
  signingExchange,
  takesImport,
} from './hsm-keys.ts';
import { checkPublicFields, checkSecrets, type SecretValue } from './values.ts';
import { sealVersion, shredded } from './versions.ts';

/** Everything of a credential but its secrets. */
export interface CredentialTerms {
  readonly service: string;
  readonly label: string;
  readonly publicFields: Readonly<Record<string, string>>;
  /** Names of agents to be granted it in the same step. */
  readonly agents: readonly string[];
}

export interface CredentialInput extends CredentialTerms, SealedBox {
  /** Whether the secret goes into the HSM as a key: it is stored nowhere then. */
  readonly hsm?: boolean;
}

export interface CredentialSet {
  readonly id: string;
  readonly service: string;
  readonly label: string;
  readonly version: number;
}

export interface CredentialCreated extends CredentialSet {
  readonly key: PublicHalf;
}

/** Sets and removes credentials. Clear values live here in wiped memory, for the length of a call. */
export class Credentials {
  readonly #changes: Changes;
  readonly #keyholder: KeyholderClient;
  readonly #keep: number;

  /** `keep`: how many versions of a credential keep their sealed value, the current one included. */
  constructor(changes: Changes, keyholder: KeyholderClient, keep: number) {
    this.#changes = changes;
    this.#keyholder = keyholder;
    this.#keep = keep;
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
        const draft = await this.#draft(state, input, secrets);
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
    const existing = credentialLabelled(state, input);
    const id = existing?.id ?? newId('crd');
    const label = keyLabel(id, (existing?.current_version ?? 0) + 1);
    const stored = secrets.map((secret) =>
      secret.name === 'secret_access_key' ? { ...secret, value: keyReference(label) } : secret,
    );
    const draft = await this.#draft(state, input, stored, id);
    const secret = secrets.find(({ name }) => name === 'secret_access_key');
    const key = firstKey(secret?.value ?? Buffer.alloc(0));
    try {
      await this.#keyholder.importCredentialKey(label, key);
    } finally {
      key.fill(0);
    }
    return draft;
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
          const message = `${input.service} takes no key that signs: set its secret with \`sallyport credential set\`.`;
          throw new SallyportError('invalid_argument', message);
        }
        const existing = credentialLabelled(state, input);
        const id = existing?.id ?? newId('crd');
        const label = keyLabel(id, (existing?.current_version ?? 0) + 1);
        const keyType = keyTypeFor(exchange, type);
        const draft = await this.#draft(
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

  /** Removes a credential with its grants and shreds what is sealed. Throws not_found and what `apply` throws. */
  remove(id: string): Promise<void> {
    return this.#changes.apply('credential.remove', id, (state) => {
      const credential = state.credential(id);
      if (!credential) {
        const message = `No credential has the id ${id}; \`sallyport credential list\` shows them.`;
        throw new SallyportError('not_found', message);
      }
      const removed_at = new Date().toISOString();
      const rows: PolicyRow[] = [{ table: 'credentials', row: { ...credential, removed_at } }];
      for (const version of state.heldVersions(credential)) rows.push(shredded(version, removed_at));
      for (const grant of state.grants()) {
        if (grant.credential === id) rows.push({ table: 'grants', row: { ...grant, removed_at } });
      }
      const detail = { service: credential.service, label: credential.label };
      return { rows, shreds: 'now', result: undefined, detail };
    });
  }

  async #draft(
    state: PolicyState,
    input: CredentialTerms,
    secrets: readonly SecretValue[],
    id = newId('crd'),
  ): Promise<Change<CredentialSet>> {
    const definition = requireService(state, input.service);
    const agents = input.agents.map((name) => requireAgent(state, name));
    const existing = credentialLabelled(state, input);
    const publicFields = publicFieldsOf(state, input);
    checkPublicFields(definition, publicFields);
    checkSecrets(definition, secrets);
    const names = secrets.map((secret) => secret.name);
    compileHosts(definition, publicFields);
    compileInjection(definition, publicFields, names);

    const now = new Date().toISOString();
    const rows: PolicyRow[] = [];
    const service = state.service(input.service) ?? draftService(definition, now);
    if (!state.service(input.service)) rows.push({ table: 'services', row: service });
    const credential = {
      ...(existing ?? { id, service: service.id, label: input.label, created_at: now }),
      ...UNSIGNED,
      current_version: (existing?.current_version ?? 0) + 1,
      public_fields: JSON.stringify(publicFields),
      removed_at: null,
    };
    const version = await sealVersion(this.#keyholder, service, credential, secrets, now);
    rows.push({ table: 'credentials', row: credential }, { table: 'credential_versions', row: version });
    // With other public fields an older value would never open again: they are bound to it.
    const keep = existing?.public_fields === credential.public_fields ? this.#keep - 1 : 0;
    const outdated = existing ? state.heldVersions(existing).slice(keep) : [];
    rows.push(...outdated.map((row) => shredded(row, now)));
    for (const agent of agents) {
      const grant = draftGrant(state, agent, credential, {}, now);
      if (grant.row) rows.push({ table: 'grants', row: grant.row });
    }
    const { label, current_version } = credential;
    return {
      rows,
      shreds: outdated.length > 0 ? 'soon' : undefined,
      result: { id: credential.id, service: service.id, label, version: current_version },
      detail: { credential: credential.id, version: current_version, agents: input.agents.join(' ') },
    };
  }
}

/** Those that are given, and of the credential that is there those that are not. */
function publicFieldsOf(state: PolicyState, input: CredentialTerms): Record<string, string> {
  const existing = credentialLabelled(state, input);
  return { ...(existing && readFields(existing.public_fields)), ...input.publicFields };
}

function credentialLabelled(
  state: PolicyState,
  { service, label }: Pick<CredentialTerms, 'service' | 'label'>,
): CredentialsTable | undefined {
  return state.credentialsOf(service).find((credential) => credential.label === label);
}
