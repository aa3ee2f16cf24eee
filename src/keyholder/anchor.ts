import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { type Cryptoki, readAttribute } from './cryptoki.ts';
import { find } from './find.ts';

const LABEL = 'sallyport-anchor';
const SEQUENCE_BYTES = 8;
export const MAX_ANCHOR = 4096;

interface Stored {
  readonly object: Handle;
  /** -1n where the object holds no value: its writing was cut short. */
  readonly sequence: bigint;
  readonly value: Buffer;
}

/** The anchor's bytes, or undefined where none was written. Throws what the calls throw. */
export function readAnchor(token: Cryptoki): Buffer | undefined {
  const newest = newestOf(stored(token));
  return newest && newest.sequence >= 0n ? newest.value : undefined;
}

/**
 * Replaces the anchor: a private data object, sequence number (u64, big-endian) ‖ bytes. SoftHSM lets the value of a
 * data object not be set (CKR_ATTRIBUTE_READ_ONLY) and rewrites files in place; so a new object is made, then the old
 * one destroyed. Killed in between, the higher number counts. Throws hsm_refused for a wrong size, and what the calls
 * throw.
 */
export function writeAnchor(token: Cryptoki, bytes: Buffer): void {
  if (bytes.length === 0 || bytes.length > MAX_ANCHOR) {
    throw new SallyportError('hsm_refused', `An anchor has 1 to ${MAX_ANCHOR} bytes, not ${bytes.length}.`);
  }
  const old = stored(token);
  const sequence = (newestOf(old)?.sequence ?? -1n) + 1n;
  const value = Buffer.alloc(SEQUENCE_BYTES + bytes.length);
  value.writeBigUInt64BE(sequence);
  bytes.copy(value, SEQUENCE_BYTES);
  token.lib.C_CreateObject(token.session, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_PRIVATE, value: true },
    { type: pkcs11.CKA_APPLICATION, value: 'sallyport' },
    { type: pkcs11.CKA_LABEL, value: LABEL },
    { type: pkcs11.CKA_VALUE, value },
  ]);
  for (const { object } of old) token.lib.C_DestroyObject(token.session, object);
}

/** Takes the anchor away. Throws what the calls throw. */
export function removeAnchor(token: Cryptoki): void {
  for (const { object } of stored(token)) token.lib.C_DestroyObject(token.session, object);
}

function stored(token: Cryptoki): Stored[] {
  return find(token, pkcs11.CKO_DATA, LABEL).map((object) => {
    const value = readAttribute(token, object, pkcs11.CKA_VALUE);
    if (value.length <= SEQUENCE_BYTES) return { object, sequence: -1n, value };
    return { object, sequence: value.readBigUInt64BE(), value: value.subarray(SEQUENCE_BYTES) };
  });
}

function newestOf(all: readonly Stored[]): Stored | undefined {
  return all.reduce<Stored | undefined>(
    (best, next) => (best === undefined || next.sequence > best.sequence ? next : best),
    undefined,
  );
}
