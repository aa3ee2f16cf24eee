import { SallyportError } from '../../errors.ts';
import { encodeFields } from '../../sealing/fields.ts';
import { laterKek } from '../../store/keks.ts';
import type {
  CredentialsTable,
  CredentialVersionsTable,
  PolicyRow,
  ServicesTable,
} from '../../store/schema.ts';
import { UNSIGNED } from '../changes.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { credentialBinding, destinationsOf, versionBinding } from './binding.ts';
import { openEnvelope, sealEnvelope } from './envelope.ts';
import { referencedKey } from './key-reference.ts';
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
  return openEnvelope(keyholder, versionBinding(service, credential, version), { sealed, dek, kek });
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
      first_kek: envelope.kek,
      public_fields: credential.public_fields,
      destinations: destinationsOf(service, credential.public_fields),
      hsm_key: secrets.map(({ value }) => referencedKey(value)).find((label) => label !== undefined) ?? null,
      created_at: now,
      removed_at: null,
    };
  } finally {
    plaintext.fill(0);
  }
}

/** Seals `secrets` anew as the version that `before` is: what that was sealed with first may be in a backup. */
export async function resealVersion(
  keyholder: KeyholderClient,
  service: ServicesTable,
  credential: { id: string; current_version: number; public_fields: string },
  secrets: readonly SecretValue[],
  before: CredentialVersionsTable,
): Promise<CredentialVersionsTable> {
  const row = await sealVersion(keyholder, service, credential, secrets, before.created_at);
  return { ...row, first_kek: before.first_kek };
}

/**
 * A version's row without what was sealed. It goes on saying which KEKs a copy of it may be wrapped with: up to the
 * newest, since a restored store may be behind what it once was.
 */
export function shredded(
  keyholder: KeyholderClient,
  version: CredentialVersionsTable,
  removed_at: string,
): Extract<PolicyRow, { table: 'credential_versions' }> {
  const kek = version.kek === null ? null : laterKek(version.kek, keyholder.info?.kek ?? version.kek);
  return { table: 'credential_versions', row: { ...version, sealed: null, dek: null, kek, removed_at } };
}

/**
 * Rows of an earlier form among `versions`, which do not say what they were sealed with: as they will have to, before
 * the credential's public fields or its service's destinations change.
 */
export function pinned(
  service: ServicesTable,
  { public_fields }: CredentialsTable,
  versions: readonly CredentialVersionsTable[],
): PolicyRow[] {
  const destinations = destinationsOf(service, public_fields);
  return versions
    .filter((row) => row.destinations === null)
    .map((row) => ({ table: 'credential_versions', row: { ...row, public_fields, destinations } }));
}
