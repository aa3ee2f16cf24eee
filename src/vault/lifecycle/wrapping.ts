import { readNames } from '../../store/columns.ts';
import type { PolicyRow } from '../../store/schema.ts';
import { credentialBinding, rootKeyBinding } from '../credentials/binding.ts';
import type { KeyholderClient, WrappedKey } from '../keyholder.ts';
import type { PolicyState } from '../policy/state.ts';

/** A row that holds a wrapped DEK, whatever it is of. */
export interface Wrapping {
  /** The row that it is in, which can hold two. */
  readonly row: object;
  /** Label of the KEK. */
  readonly kek: string;
  readonly dek: Buffer;
  /** The additional data that the DEK is wrapped under. */
  binding(): Buffer;
  /** The row with another wrapping of the same DEK. */
  with(wrapped: WrappedKey): PolicyRow;
}

/** Every wrapped DEK in the store: of credential versions that are kept, and of agents' and the proxy's authorities. */
export function* wrappings(state: PolicyState): Generator<Wrapping> {
  const rows = state.rows();
  for (const row of rows.credential_versions) {
    const { dek, kek } = row;
    if (!dek || kek === null) continue;
    yield {
      row,
      kek,
      dek,
      binding: () => versionBinding(state, row.credential, row.version, row.secret_fields),
      with: (to) => ({ table: 'credential_versions', row: { ...row, dek: to.wrapped, kek: to.kek } }),
    };
  }
  for (const row of rows.agents) {
    const { root_key_dek: dek, root_key_kek: kek, root_certificate: certificate } = row;
    if (!dek || kek === null || !certificate) continue;
    yield {
      row,
      kek,
      dek,
      binding: () => rootKeyBinding(row.id, certificate),
      with: (to) => ({ table: 'agents', row: { ...row, root_key_dek: to.wrapped, root_key_kek: to.kek } }),
    };
  }
  for (const row of rows.agents) {
    const { old_root_key_dek: dek, old_root_key_kek: kek, old_root_certificate: certificate } = row;
    if (!dek || kek === null || !certificate) continue;
    yield {
      row,
      kek,
      dek,
      binding: () => rootKeyBinding(row.id, certificate),
      with: (to) => ({
        table: 'agents',
        row: { ...row, old_root_key_dek: to.wrapped, old_root_key_kek: to.kek },
      }),
    };
  }
  for (const row of rows.authorities) {
    yield {
      row,
      kek: row.key_kek,
      dek: row.key_dek,
      binding: () => rootKeyBinding(row.id, row.certificate),
      with: (to) => ({ table: 'authorities', row: { ...row, key_dek: to.wrapped, key_kek: to.kek } }),
    };
  }
}

/** The row with its DEK wrapped by the newest KEK. Throws hsm_unavailable, hsm_refused. */
export async function rewrapped(keyholder: KeyholderClient, wrapping: Wrapping): Promise<PolicyRow> {
  const aad = wrapping.binding();
  const dek = await keyholder.unwrap(wrapping.dek, aad, wrapping.kek);
  try {
    return wrapping.with(await keyholder.wrap(dek, aad));
  } finally {
    dek.fill(0);
  }
}

function versionBinding(state: PolicyState, id: string, version: number, secretFields: string): Buffer {
  const credential = state.credential(id);
  const service = credential && state.service(credential.service);
  if (!credential || !service) throw new Error(`the credential of ${id}/${version} is not there`);
  return credentialBinding(service, credential, version, readNames(secretFields));
}
