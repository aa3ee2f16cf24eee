import { awsEndpoint, isOverCredentials, isScopeOf } from '../../catalog/aws.ts';
import type { RuleHost } from '../../channel/messages/policy.ts';
import type { SigningScope } from '../../channel/messages/worker.ts';
import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import { copySecret } from '../../secret-buffer.ts';
import { readFields } from '../../store/columns.ts';
import type { CredentialsTable, CredentialVersionsTable, ServicesTable } from '../../store/schema.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { deriveSigningKey, fromDayKey } from './derive-signing-key.ts';
import { referencedKey } from './key-reference.ts';
import type { ReleasedField } from './release.ts';
import { openVersion } from './versions.ts';

/** A worker that asks at midnight may be behind, or ahead. */
const NEAR_MIDNIGHT_MS = 5 * 60 * 1000;

/**
 * Whether a signing key of that scope may be released for `host`, whatever the worker says: of this day, of a service
 * and region that the host stands for, and of none that hands out credentials unless the service names the host itself.
 * Throws policy_denied.
 */
export function checkSigningScope(
  { day, region, service }: SigningScope,
  host: string,
  hosts: readonly RuleHost[],
  now = Date.now(),
): void {
  const near = [now - NEAR_MIDNIGHT_MS, now, now + NEAR_MIDNIGHT_MS];
  if (!near.some((time) => new Date(time).toISOString().slice(0, 10).replaceAll('-', '') === day)) {
    throw denied(`${day} is not today`);
  }
  // Elsewhere the credential is some other provider's, whose names are its own.
  if (awsEndpoint(host) && !isScopeOf(host, service, region)) {
    throw denied(`${host} is not ${service} in ${region}`);
  }
  if (isOverCredentials(service) && !hosts.some(({ pattern }) => pattern === host)) {
    throw denied(`${service} hands out or changes credentials`);
  }
}

/**
 * What a worker signs with (AWS Signature Version 4): the key of the day, region and service, derived from the secret,
 * which stays here. The caller wipes the fields. Throws credential_missing, hsm_unavailable, integrity_failed.
 */
export async function openSigningKey(
  keyholder: KeyholderClient,
  service: ServicesTable,
  credential: CredentialsTable,
  version: CredentialVersionsTable,
  scope: SigningScope,
): Promise<ReleasedField[]> {
  const accessKeyId = readFields(credential.public_fields).access_key_id;
  const plaintext = await openVersion(keyholder, service, credential, version);
  try {
    const secrets = decodeFields(plaintext);
    const secret = secrets.find(({ name }) => name === 'secret_access_key');
    const token = secrets.find(({ name }) => name === 'session_token');
    if (accessKeyId === undefined || !secret) {
      const message = 'The credential has no access key to sign with: set it anew.';
      throw new SallyportError('credential_missing', message);
    }
    return [
      { name: 'access_key_id', secret: false, value: Buffer.from(accessKeyId, 'utf8') },
      { name: 'signing_key', secret: true, value: await signingKey(keyholder, secret.value, scope) },
      ...(token ? [{ name: 'session_token', secret: true, value: copySecret(token.value) }] : []),
    ];
  } finally {
    plaintext.fill(0);
  }
}

/** Where the secret is in the HSM, the first HMAC is made there. */
async function signingKey(keyholder: KeyholderClient, secret: Buffer, scope: SigningScope): Promise<Buffer> {
  const label = referencedKey(secret);
  if (label === undefined) return deriveSigningKey(secret, scope);
  const dayKey = await keyholder.macWithCredentialKey(label, Buffer.from(scope.day, 'latin1'));
  return fromDayKey(dayKey, scope);
}

function denied(why: string): SallyportError {
  return new SallyportError('policy_denied', `The vault releases no signing key: ${why}.`);
}
