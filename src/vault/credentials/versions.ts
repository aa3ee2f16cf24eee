import { SallyportError } from '../../errors.ts';
import { encodeFields } from '../../sealing/fields.ts';
import { readNames } from '../../store/columns.ts';
import type {
  CredentialsTable,
  CredentialVersionsTable,
  PolicyRow,
  ServicesTable,
} from '../../store/schema.ts';
import { UNSIGNED } from '../changes.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { credentialBinding } from './binding.ts';
import { openEnvelope, sealEnvelope } from './envelope.ts';
import type { SecretValue } from './values.ts';

/** Opens a version's fields, encoded, into memory that the caller wipes. Throws credential_missing where it is shredded. */
export function openVersion(
  keyholder: KeyholderClient,
  service: ServicesTable,
  credential: CredentialsTable,
  version: CredentialVersionsTable,
): Promise<Buffer> {
  const { sealed, dek, kek } = version;
  if (!sealed || !dek || kek === null) {
    throw new SallyportError(
      'credential_missing',
      'This version of the credential has been shredded: set it anew.',
    );
  }
  const binding = credentialBinding(service, credential, version.version, readNames(version.secret_fields));
  return openEnvelope(keyholder, binding, { sealed, dek, kek });
}

/** Seals `secrets` (which the caller wipes) as the credential's current version, in the definition's order. */
export async function sealVersion(
  keyholder: KeyholderClient,
  service: ServicesTable,
  credential: { id: string; current_version: number; public_fields: string },
  secrets: readonly SecretValue[],
  now: string,
): Promise<CredentialVersionsTable> {
  const names = secrets.map((secret) => secret.name);
  const plaintext = encodeFields(secrets);
  try {
    const binding = credentialBinding(service, credential, credential.current_version, names);
    const envelope = await sealEnvelope(keyholder, binding, plaintext);
    return {
      ...UNSIGNED,
      ...envelope,
      credential: credential.id,
      version: credential.current_version,
      secret_fields: JSON.stringify(names),
      created_at: now,
      removed_at: null,
    };
  } finally {
    plaintext.fill(0);
  }
}

/** A version's row without what was sealed. */
export function shredded(version: CredentialVersionsTable, removed_at: string): PolicyRow {
  const row = { ...version, sealed: null, dek: null, kek: null, removed_at };
  return { table: 'credential_versions', row };
}
