import { createECDH, type ECDH, randomFillSync } from 'node:crypto';
import { allocateSecret } from '../../secret-buffer.ts';

/** A new P-256 key: its private half in PKCS#8 DER, which its owner wipes, and its uncompressed point (65 bytes). */
export interface KeyPair {
  readonly privateKey: Buffer;
  readonly point: Buffer;
}

/** PKCS#8 (RFC 5958) of a P-256 key (RFC 5915) is this, the number, this, and the point. */
const BEFORE_NUMBER = Buffer.from(
  '308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420',
  'hex',
);
const BEFORE_POINT = Buffer.from('a144034200', 'hex');
const NUMBER_BYTES = 32;
const POINT_BYTES = 65;
/** A number that is no secret. */
const ONE = Buffer.alloc(NUMBER_BYTES);
ONE[NUMBER_BYTES - 1] = 1;

/**
 * The number is random, and OpenSSL only works out its point: where it makes the key, its own form of it, reversed, stays
 * until the next collection of garbage (measured). Here that is replaced by another number at once.
 */
export function generateKeyPair(): KeyPair {
  const privateKey = allocateSecret(BEFORE_NUMBER.length + NUMBER_BYTES + BEFORE_POINT.length + POINT_BYTES);
  BEFORE_NUMBER.copy(privateKey);
  const number = privateKey.subarray(BEFORE_NUMBER.length, BEFORE_NUMBER.length + NUMBER_BYTES);
  const ecdh = createECDH('prime256v1');
  do randomFillSync(number);
  while (!takes(ecdh, number));
  const point = ecdh.getPublicKey();
  ecdh.setPrivateKey(ONE);
  const at = BEFORE_NUMBER.length + NUMBER_BYTES;
  point.copy(privateKey, at + BEFORE_POINT.copy(privateKey, at));
  return { privateKey, point };
}

/** False where the number is zero or not below the group's order: one of 2^32 is not. */
function takes(ecdh: ECDH, number: Buffer): boolean {
  try {
    ecdh.setPrivateKey(number);
    return true;
  } catch {
    return false;
  }
}
