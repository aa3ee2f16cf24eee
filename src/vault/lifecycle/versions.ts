import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import type { CredentialVersionsTable, PolicyRow } from '../../store/schema.ts';
import { type Change, type Changes, UNSIGNED } from '../changes.ts';
import type { CredentialSet } from '../credentials/draft.ts';
import { openVersion, sealVersion, shredded } from '../credentials/versions.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { PolicyState } from '../policy/state.ts';

export interface Rollback extends CredentialSet {
  /** The version whose value it has. */
  readonly from: number;
}

export interface Shredded {
  readonly id: string;
  readonly version: number;
  /** The KEK that its data key was wrapped with: copies of the row made before (backups) open as long as it exists. */
  readonly kek: string;
}

/** What can be done with the versions of a credential besides setting a new one. */
export class CredentialVersions {
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
   * Makes the value of an earlier version (the newest kept one, unless `to` names another) a new version: numbers
   * only grow, so a row of before that is put back is still found out. Throws not_found, credential_missing and what
   * `apply` throws.
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
    const credential = { ...existing, ...UNSIGNED, current_version: existing.current_version + 1 };
    const plaintext = await openVersion(this.#keyholder, serviceRow, existing, target);
    let version: CredentialVersionsTable;
    try {
      version = await sealVersion(this.#keyholder, serviceRow, credential, decodeFields(plaintext), now);
    } finally {
      plaintext.fill(0);
    }
    const outdated = held.slice(this.#keep - 1);
    const rows: PolicyRow[] = [
      { table: 'credentials', row: credential },
      { table: 'credential_versions', row: version },
      ...outdated.map((row) => shredded(row, now)),
    ];
    const result = { id: credential.id, service, label, version: version.version, from: target.version };
    return {
      rows,
      shreds: outdated.length > 0 ? 'soon' : undefined,
      result,
      detail: { credential: credential.id, version: version.version, from: target.version },
    };
  }

  /** Destroys what is sealed of one version that is not in use. Throws not_found, invalid_argument and what `apply` throws. */
  shred(id: string, number: number): Promise<Shredded> {
    return this.#changes.apply('credential.shred', `${id}/${number}`, (state) => {
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
      if (!version || version.kek === null) {
        const message = `Version ${number} of ${id} holds nothing sealed: it was shredded, or never was.`;
        throw new SallyportError('not_found', message);
      }
      return {
        rows: [shredded(version, new Date().toISOString())],
        shreds: 'now',
        result: { id, version: number, kek: version.kek },
        detail: { credential: id, version: number, kek: version.kek },
      };
    });
  }
}

function notKept(service: string, label: string, to: number | undefined): SallyportError {
  const which = to === undefined ? 'no earlier version' : `no version ${to} that is kept`;
  return new SallyportError(
    'credential_missing',
    `${service} "${label}" has ${which}: see \`sallyport credential versions ${service} --label ${label}\`, or set it anew.`,
  );
}
