import { catalogService } from '../../catalog/catalog.ts';
import { compileHosts, compileInjection } from '../../catalog/rule.ts';
import type { Service } from '../../catalog/service.ts';
import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import { readFields, readNames } from '../../store/columns.ts';
import type { CredentialsTable, PolicyRow, ServicesTable } from '../../store/schema.ts';
import { type Changes, UNSIGNED } from '../changes.ts';
import { canonicalJson, destinationsOf } from '../credentials/binding.ts';
import { checkPublicFields } from '../credentials/values.ts';
import { openVersion, pinned, resealVersion } from '../credentials/versions.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { PolicyState } from '../policy/state.ts';

export interface ServicesSet {
  readonly added: readonly string[];
  readonly updated: readonly string[];
  /** Earlier versions of credentials that are kept, but were set for other destinations than the services have now. */
  readonly stranded: readonly string[];
}

/** Adds services and changes their definitions. */
export class Services {
  readonly #changes: Changes;
  readonly #keyholder: KeyholderClient;

  constructor(changes: Changes, keyholder: KeyholderClient) {
    this.#changes = changes;
    this.#keyholder = keyholder;
  }

  /**
   * Adds or replaces definitions, all or none. What is sealed for a service is bound to its destinations, so its
   * credentials are sealed anew. Throws invalid_service where a credential would no longer fit its service.
   */
  put(services: readonly Service[]): Promise<ServicesSet> {
    return this.#changes.apply(
      'service.add',
      services.map((service) => service.id).join(' '),
      async (state) => {
        const now = new Date().toISOString();
        const rows: PolicyRow[] = [];
        const added: string[] = [];
        const updated: string[] = [];
        const stranded: string[] = [];
        for (const definition of services) {
          const existing = state.service(definition.id);
          (existing ? updated : added).push(definition.id);
          const row = existing
            ? { ...existing, definition: canonicalJson(definition) }
            : draftService(definition, now);
          if (existing?.definition === row.definition) continue;
          rows.push({ table: 'services', row });
          if (!existing) continue;
          for (const credential of state.credentialsOf(definition.id)) {
            rows.push(...(await this.#reseal(state, existing, row, definition, credential)));
            stranded.push(...strandedOf(state, existing, row, credential));
          }
        }
        const detail = { added: added.join(' '), updated: updated.join(' ') };
        const shreds = rows.some(({ table }) => table === 'credential_versions') ? 'soon' : undefined;
        return { rows, shreds, result: { added, updated, stranded }, detail };
      },
    );
  }

  async #reseal(
    state: PolicyState,
    before: ServicesTable,
    after: ServicesTable,
    definition: Service,
    credential: CredentialsTable,
  ): Promise<PolicyRow[]> {
    const [current, ...older] = state.heldVersions(credential);
    if (!current) return [];
    checkFits(definition, credential, readNames(current.secret_fields));
    const plaintext = await openVersion(this.#keyholder, before, credential, current);
    try {
      const secrets = decodeFields(plaintext);
      const row = await resealVersion(this.#keyholder, after, credential, secrets, current);
      return [{ table: 'credential_versions', row }, ...pinned(before, credential, older)];
    } finally {
      plaintext.fill(0);
    }
  }
}

/** Earlier versions that can be rolled back to under the definition that was, and not under the one that will be. */
function strandedOf(
  state: PolicyState,
  before: ServicesTable,
  after: ServicesTable,
  credential: CredentialsTable,
): string[] {
  return state
    .heldVersions(credential)
    .slice(1)
    .filter((version) => {
      const fields = version.public_fields ?? credential.public_fields;
      const bound = version.destinations ?? destinationsOf(before, fields);
      return !bound.equals(destinationsOf(after, fields));
    })
    .map(({ version }) => `${credential.id}/${version}`);
}

/** A new row for `definition`, stored with its keys sorted: equal definitions are equal texts. */
export function draftService(definition: Service, now: string): ServicesTable {
  const row = { id: definition.id, definition: canonicalJson(definition), created_at: now, removed_at: null };
  return { ...UNSIGNED, ...row };
}

/** The definition in force: the stored one, else the catalog's. Throws not_found. */
export function requireService(state: PolicyState, id: string): Service {
  const row = state.service(id);
  const service = row ? state.definition(row) : catalogService(id);
  if (service) return service;
  const message = `No service has the id ${id}; \`sallyport service list\` shows them, \`sallyport service add\` adds one.`;
  throw new SallyportError('not_found', message);
}

function checkFits(definition: Service, credential: CredentialsTable, secretFields: readonly string[]): void {
  try {
    const publicFields = readFields(credential.public_fields);
    checkPublicFields(definition, publicFields);
    compileHosts(definition, publicFields);
    compileInjection(definition, publicFields, secretFields);
    const declared = definition.fields.filter((field) => field.secret);
    const missing = declared.find((field) => !field.optional && !secretFields.includes(field.key));
    if (missing) throw new SallyportError('invalid_credential', `It lacks the field ${missing.key}.`);
  } catch (cause) {
    if (!(cause instanceof SallyportError)) throw cause;
    throw new SallyportError(
      'invalid_service',
      `The new definition of ${definition.id} does not fit its credential ${credential.label} (${cause.message}): remove that credential first.`,
      { cause },
    );
  }
}
