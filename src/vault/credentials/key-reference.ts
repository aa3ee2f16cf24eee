import { SallyportError } from '../../errors.ts';
import type { SecretValue } from './values.ts';

/**
 * In place of a private key, a credential whose key is in the HSM holds a PKCS #11 URI (RFC 7512) that names it, sealed
 * like any other value: versions, rollback and backups need nothing of their own.
 */
const BEFORE = 'pkcs11:object=';
const AFTER = ';type=private';
const PREFIX = Buffer.from('pkcs11:', 'latin1');

/** What stands in a credential for the key of that label. */
export function keyReference(label: string): Buffer {
  return Buffer.from(`${BEFORE}${label}${AFTER}`, 'latin1');
}

/** The label of the key that a value stands for; undefined where it is no reference but a value. */
export function referencedKey(value: Buffer): string | undefined {
  if (!value.subarray(0, PREFIX.length).equals(PREFIX)) return undefined;
  return value.toString('latin1').slice(BEFORE.length, -AFTER.length);
}

/** Throws invalid_credential where a value that somebody sets refers to a key: only `credential create` makes those. */
export function refuseReferences(secrets: readonly SecretValue[]): void {
  const reference = secrets.find(({ value }) => referencedKey(value) !== undefined);
  if (!reference) return;
  const message = `The field ${reference.name} names a key in an HSM: make one with \`sallyport credential create\`.`;
  throw new SallyportError('invalid_credential', message);
}
