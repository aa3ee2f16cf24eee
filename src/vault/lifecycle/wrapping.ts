import type { CredentialVersionsTable, PolicyRow } from '../../store/schema.ts';
import { rootKeyBinding, versionBinding } from '../credentials/binding.ts';
import type { PolicyState } from '../policy/state.ts';

/** A row that holds a wrapped DEK, whatever it is of. */
export interface Wrapping {
  /** The row that it is in, which can hold two. */
  readonly entry: PolicyRow;
  /** Which of the two, where the row holds two: an agent's newest root, or the one before. */
  readonly which: 'newest' | 'old';
  /** Label of the KEK. */
  readonly kek: string;
  readonly dek: Buffer;
  /** The additional data that the DEK is wrapped under. */
  binding(): Buffer;
  /** The row with the same DEK wrapped with another KEK. */
  with(dek: Buffer, kek: string): PolicyRow;
}

/** Every wrapped DEK in the store: of credential versions that are kept, and of agents' and the proxy's authorities. */
export function* wrappings(state: PolicyState): Generator<Wrapping> {
  const rows = state.rows();
  for (const row of rows.credential_versions) {
    const { dek, kek } = row;
    if (!dek || kek === null) continue;
    yield {
      entry: { table: 'credential_versions', row },
      which: 'newest',
      kek,
      dek,
      binding: () => bindingIn(state, row),
      with: (dek, kek) => ({ table: 'credential_versions', row: { ...row, dek, kek } }),
    };
  }
  for (const row of rows.agents) {
    const { root_key_dek: dek, root_key_kek: kek, root_certificate: certificate } = row;
    if (!dek || kek === null || !certificate) continue;
    yield {
      entry: { table: 'agents', row },
      which: 'newest',
      kek,
      dek,
      binding: () => rootKeyBinding(row.id, certificate),
      with: (dek, kek) => ({ table: 'agents', row: { ...row, root_key_dek: dek, root_key_kek: kek } }),
    };
  }
  for (const row of rows.agents) {
    const { old_root_key_dek: dek, old_root_key_kek: kek, old_root_certificate: certificate } = row;
    if (!dek || kek === null || !certificate) continue;
    yield {
      entry: { table: 'agents', row },
      which: 'old',
      kek,
      dek,
      binding: () => rootKeyBinding(row.id, certificate),
      with: (dek, kek) => ({
        table: 'agents',
        row: { ...row, old_root_key_dek: dek, old_root_key_kek: kek },
      }),
    };
  }
  for (const row of rows.authorities) {
    if (row.removed_at !== null || row.key_dek.length === 0) continue; // over, or in the HSM
    yield {
      entry: { table: 'authorities', row },
      which: 'newest',
      kek: row.key_kek,
      dek: row.key_dek,
      binding: () => rootKeyBinding(row.id, row.certificate),
      with: (dek, kek) => ({ table: 'authorities', row: { ...row, key_dek: dek, key_kek: kek } }),
    };
  }
}

/** Those that are not wrapped with `kek`. */
export function outdated(state: PolicyState, kek: string): Wrapping[] {
  return [...wrappings(state)].filter((each) => each.kek !== kek);
}

/** Whether the row is still in force as it was: rows are replaced, never changed. */
export function isCurrent(state: PolicyState, { entry }: Wrapping): boolean {
  return state.current(entry) === entry.row;
}

function bindingIn(state: PolicyState, row: CredentialVersionsTable): Buffer {
  const credential = state.credential(row.credential);
  const service = credential && state.service(credential.service);
  if (!credential || !service)
    throw new Error(`the credential of ${row.credential}/${row.version} is not there`);
  return versionBinding(service, credential, row);
}
