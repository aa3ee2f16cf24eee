import { compileHosts, compileInjection } from '../../catalog/rule.ts';
import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import { readFields } from '../../store/columns.ts';
import type {
  CredentialsTable,
  CredentialVersionsTable,
  PolicyRow,
  ServicesTable,
} from '../../store/schema.ts';
import {
  listVersions,
  type Shredding,
  shreddingOf,
  type VersionEntry,
  type Which,
} from '../../store/versions.ts';
import { type Change, type Changes, UNSIGNED } from '../changes.ts';
import { destinationsOf } from '../credentials/binding.ts';
import type { CredentialSet } from '../credentials/draft.ts';
import { checkPublicFields, checkSecrets, type SecretValue } from '../credentials/values.ts';
import { openVersion, pinned, sealVersion, shredded } from '../credentials/versions.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Policy } from '../policy/policy.ts';
import type { PolicyState } from '../policy/state.ts';

export interface Rollback extends CredentialSet {
  /** The version whose value it has, and whose public fields. */
  readonly from: number;
  readonly publicFields: Readonly<Record<string, string>>;
  /** Whether those are others than before. */
  readonly fieldsChanged: boolean;
}

export interface Shredded extends Shredding {
  readonly id: string;
  readonly version: number;
  /** Label of the key in the HSM that was its value; null: the value was sealed, or an earlier form does not say. */
  readonly hsmKey: string | null;
}

/** What can be done with the versions of a credential besides setting a new one. */
export class CredentialVersions {
  readonly #policy: Policy;
  readonly #changes: Changes;
  readonly #keyholder: KeyholderClient;
  readonly #keep: number;

  /** `keep`: how many versions of a credential keep their sealed value, the current one included. */
  constructor(policy: Policy, changes: Changes, keyholder: KeyholderClient, keep: number) {
    this.#policy = policy;
    this.#changes = changes;
    this.#keyholder = keyholder;
    this.#keep = keep;
  }

  /** Newest first, with what the token holds now of the keys that open copies. Throws not_found, hsm_unavailable. */
  async list(which: Which): Promise<VersionEntry[]> {
    return listVersions(this.#policy.state.rows(), which, await this.#keyholder.heldKeys());
  }

  /**
   * Makes the value of an earlier version (the newest kept one, unless `to` names another) a new version, with the
   * public fields that it was set with: numbers only grow, so a row of before that is put back is still found out.
   * Throws not_found, credential_missing, invalid_credential where the service's definition has changed so that it does
   * not fit any more, and what `apply` throws.
   */
  rollback(service: string, label: string, to: number | undefined): Promise<Rollback> {
    return this.#changes.apply('credential.rollback', `${service}/${label}`, (state) =>
      this.#draftRollback(state, service, label, to),
    );
  }

  async #draftRollback(
    state: PolicyState,
    service: string,
    label: string,
    to: number | undefined,
  ): Promise<Change<Rollback>> {
    const serviceRow = state.service(service);
    const existing = state.credentialsOf(service).find((credential) => credential.label === label);
    if (!serviceRow || !existing) {
      const message = `${service} has no credential with the label ${label}; \`sallyport credential list\` shows them.`;
      throw new SallyportError('not_found', message);
    }
    const held = state.heldVersions(existing);
    const target = to === undefined ? held[1] : held.find(({ version }) => version === to);
    if (!target) throw notKept(service, label, to);
    if (target.version === existing.current_version) {
      throw new SallyportError('invalid_argument', `Version ${to} of ${service} is the current one already.`);
    }
    const now = new Date().toISOString();
    const public_fields = target.public_fields ?? existing.public_fields;
    const credential = {
      ...existing,
      ...UNSIGNED,
      current_version: existing.current_version + 1,
      public_fields,
    };
    checkDestinations(serviceRow, target, public_fields);
    const version = await this.#sealAgain(state, serviceRow, existing, target, credential, now);
    const outdated = held.slice(this.#keep - 1);
    const rows: PolicyRow[] = [
      { table: 'credentials', row: credential },
      { table: 'credential_versions', row: version },
      ...pinned(serviceRow, existing, held.slice(0, this.#keep - 1)),
      ...outdated.map((row) => shredded(this.#keyholder, row, now)),
    ];
    return {
      rows,
      shreds: outdated.length > 0 ? 'soon' : undefined,
      result: {
        ...{ id: credential.id, service, label, version: version.version, from: target.version },
        publicFields: readFields(public_fields),
        fieldsChanged: public_fields !== existing.public_fields,
        shredded: outdated.map((row) => row.version),
      },
      detail: { credential: credential.id, version: version.version, from: target.version },
    };
  }

  async #sealAgain(
    state: PolicyState,
    service: ServicesTable,
    existing: CredentialsTable,
    target: CredentialVersionsTable,
    credential: CredentialsTable,
    now: string,
  ): Promise<CredentialVersionsTable> {
    const plaintext = await openVersion(this.#keyholder, service, existing, target);
    try {
      const secrets = decodeFields(plaintext);
      checkFits(state, service, readFields(credential.public_fields), secrets);
      return await sealVersion(this.#keyholder, service, credential, secrets, now);
    } finally {
      plaintext.fill(0);
    }
  }

  /** Destroys what is sealed of one version that is not in use. Throws not_found, invalid_argument and what `apply` throws. */
  async shred(id: string, number: number): Promise<Shredded> {
    const row = await this.#changes.apply('credential.shred', `${id}/${number}`, (state) => {
      const credential = state.credential(id);
      if (!credential) {
        const message = `No credential has the id ${id}; \`sallyport credential list\` shows them.`;
        throw new SallyportError('not_found', message);
      }
      if (number === credential.current_version) {
        const message = `Version ${number} is in use: set a new value or roll back first, or remove the credential with \`sallyport credential remove ${id}\`.`;
        throw new SallyportError('invalid_argument', message);
      }
      const version = state.version(id, number);
      if (!version) {
        const message = `Version ${number} of ${id} holds nothing sealed: it was shredded, or never was.`;
        throw new SallyportError('not_found', message);
      }
      const entry = shredded(this.#keyholder, version, new Date().toISOString());
      return {
        rows: [entry],
        shreds: 'now',
        result: entry.row,
        detail: { credential: id, version: number, kek: entry.row.kek },
      };
    });
    return {
      id,
      version: number,
      hsmKey: row.hsm_key,
      ...shreddingOf(row, await this.#keyholder.heldKeys()),
    };
  }
}

/** Throws invalid_credential where the version was sealed for other destinations than the service has now. */
function checkDestinations(
  service: ServicesTable,
  version: CredentialVersionsTable,
  publicFields: string,
): void {
  const { destinations } = version;
  if (destinations === null || destinations.equals(destinationsOf(service, publicFields))) return;
  const message = `Version ${version.version} was set when ${service.id} went elsewhere (its definition has other hosts or ways to inject now), and goes nowhere else: put that definition back with \`sallyport service add\`, or set the credential anew.`;
  throw new SallyportError('invalid_credential', message);
}

/** Throws invalid_credential where the service now wants other fields than the version has. */
function checkFits(
  state: PolicyState,
  service: ServicesTable,
  publicFields: Readonly<Record<string, string>>,
  secrets: readonly SecretValue[],
): void {
  const definition = state.definition(service);
  checkPublicFields(definition, publicFields);
  checkSecrets(definition, secrets);
  compileHosts(definition, publicFields);
  compileInjection(
    definition,
    publicFields,
    secrets.map(({ name }) => name),
  );
}

function notKept(service: string, label: string, to: number | undefined): SallyportError {
  const which = to === undefined ? 'no earlier version' : `no version ${to} that is kept`;
  return new SallyportError(
    'credential_missing',
    `${service} "${label}" has ${which}: see \`sallyport credential versions ${service} --label ${label}\`, or set it anew.`,
  );
}
