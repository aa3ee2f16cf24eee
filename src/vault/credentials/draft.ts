import { compileHosts, compileInjection } from '../../catalog/rule.ts';
import { readFields } from '../../store/columns.ts';
import type { CredentialsTable, PolicyRow } from '../../store/schema.ts';
import { type Change, newId, UNSIGNED } from '../changes.ts';
import { draftGrant, requireAgent } from '../grants/grants.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { PolicyState } from '../policy/state.ts';
import { draftService, requireService } from '../services/services.ts';
import { keyLabel } from './hsm-keys.ts';
import { checkPublicFields, checkSecrets, type SecretValue } from './values.ts';
import { pinned, sealVersion, shredded } from './versions.ts';

/** Everything of a credential but its secrets. */
export interface CredentialTerms {
  readonly service: string;
  readonly label: string;
  readonly publicFields: Readonly<Record<string, string>>;
  /** Names of agents to be granted it in the same step. */
  readonly agents: readonly string[];
}

export interface CredentialSet {
  readonly id: string;
  readonly service: string;
  readonly label: string;
  readonly version: number;
  /** Earlier versions that were shredded for it: only so many are kept (`keepVersions`). */
  readonly shredded: readonly number[];
}

/** Drafts credentials: the rows of a new one, or of a new version of the one that a service has under a label. */
export class CredentialDrafts {
  readonly #keyholder: KeyholderClient;
  readonly #keep: number;

  /** `keep`: how many versions of a credential keep their sealed value, the current one included. */
  constructor(keyholder: KeyholderClient, keep: number) {
    this.#keyholder = keyholder;
    this.#keep = keep;
  }

  /**
   * The rows with `secrets` sealed; `id` is a new credential's. Throws invalid_credential, not_found, hsm_unavailable.
   */
  async draft(
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
    const held = existing ? state.heldVersions(existing) : [];
    const outdated = held.slice(this.#keep - 1);
    if (existing) rows.push(...pinned(service, existing, held.slice(0, this.#keep - 1)));
    rows.push(...outdated.map((row) => shredded(this.#keyholder, row, now)));
    for (const agent of agents) {
      const grant = draftGrant(state, agent, credential, {}, now);
      if (grant.row) rows.push({ table: 'grants', row: grant.row });
    }
    const { label, current_version } = credential;
    return {
      rows,
      shreds: outdated.length > 0 ? 'soon' : undefined,
      result: {
        ...{ id: credential.id, service: service.id, label, version: current_version },
        shredded: outdated.map(({ version }) => version),
      },
      detail: { credential: credential.id, version: current_version, agents: input.agents.join(' ') },
    };
  }
}

/** The credential's id, a new one's too, and the label of a key in the HSM that its next version refers to. */
export function nextKey(state: PolicyState, terms: CredentialTerms): { id: string; label: string } {
  const existing = credentialLabelled(state, terms);
  const id = existing?.id ?? newId('crd');
  return { id, label: keyLabel(id, (existing?.current_version ?? 0) + 1) };
}

/** Those that are given, and of the credential that is there those that are not. */
export function publicFieldsOf(state: PolicyState, input: CredentialTerms): Record<string, string> {
  const existing = credentialLabelled(state, input);
  return { ...(existing && readFields(existing.public_fields)), ...input.publicFields };
}

function credentialLabelled(
  state: PolicyState,
  { service, label }: Pick<CredentialTerms, 'service' | 'label'>,
): CredentialsTable | undefined {
  return state.credentialsOf(service).find((credential) => credential.label === label);
}
