import { placeholders } from '../../catalog/template.ts';
import type { Injection } from '../../channel/messages/policy.ts';
import { decodeFields } from '../../sealing/fields.ts';
import { copySecret } from '../../secret-buffer.ts';
import { readFields, readNames } from '../../store/columns.ts';
import type { CredentialsTable, CredentialVersionsTable, ServicesTable } from '../../store/schema.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { openVersion } from './versions.ts';

export interface ReleasedField {
  readonly name: string;
  /** Whether an answer is searched for it. */
  readonly secret: boolean;
  readonly value: Buffer;
}

/**
 * The fields that the injections write, each in memory of its own: what a worker needs, and no other field of the
 * credential (a refresh token stays here). The caller wipes them.
 */
export async function openInjected(
  keyholder: KeyholderClient,
  service: ServicesTable,
  credential: CredentialsTable,
  version: CredentialVersionsTable,
  inject: readonly Injection[],
): Promise<ReleasedField[]> {
  const sent = injectedFields(inject);
  // The key of a client certificate is shown to nobody, so that no answer can contain it.
  const wanted = new Set([...sent, ...inject.flatMap(certificateFields)]);
  const visible = Object.entries(readFields(credential.public_fields))
    .filter(([name]) => wanted.has(name))
    .map(([name, text]) => ({ name, secret: false, value: Buffer.from(text, 'utf8') }));
  if (!readNames(version.secret_fields).some((name) => wanted.has(name))) return visible;
  const plaintext = await openVersion(keyholder, service, credential, version);
  try {
    const secret = decodeFields(plaintext)
      .filter((field) => wanted.has(field.name))
      .map(({ name, value }) => ({ name, secret: sent.has(name), value: copySecret(value) }));
    return [...visible, ...secret];
  } finally {
    plaintext.fill(0);
  }
}

function injectedFields(inject: readonly Injection[]): ReadonlySet<string> {
  return new Set(
    inject.flatMap((each) => {
      if (each.in === 'header') return placeholders(each.value);
      if (each.in === 'basic') return [...placeholders(each.username), ...placeholders(each.password)];
      return [];
    }),
  );
}

function certificateFields(each: Injection): string[] {
  return each.in === 'client_certificate' ? placeholders(each.value) : [];
}
