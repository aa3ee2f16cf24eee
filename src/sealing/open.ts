import { createDecipheriv } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { overlayDecrypted } from './overlay.ts';
import { deriveBoxKey, MAX_PLAINTEXT, POINT_BYTES, SHARED_BYTES, TAG_BYTES } from './suite.ts';

/**
 * Opens what `seal` made. `sharedX` is the x coordinate (32 bytes) of ECDH between `enc` and the intake key, computed
 * inside the HSM, which refuses points off the curve; the caller wipes it, and the plaintext that it gets back.
 * Throws sealed_box_invalid where anything differs from what was sealed.
 */
export function open(
  enc: Buffer,
  sharedX: Buffer,
  intakePublicKey: Buffer,
  info: Buffer,
  aad: Buffer,
  ciphertext: Buffer,
): Buffer {
  const length = ciphertext.length - TAG_BYTES;
  if (
    enc.length !== POINT_BYTES ||
    enc[0] !== 4 ||
    intakePublicKey.length !== POINT_BYTES ||
    sharedX.length !== SHARED_BYTES ||
    length < 0 ||
    length > MAX_PLAINTEXT
  ) {
    throw invalid('it has not the form of one');
  }
  const { key, nonce } = deriveBoxKey(sharedX, enc, intakePublicKey, info);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  key.fill(0);
  decipher.setAAD(aad);
  decipher.setAuthTag(ciphertext.subarray(length));
  const plaintext = decipher.update(ciphertext.subarray(0, length));
  overlayDecrypted(length);
  try {
    decipher.final();
  } catch (cause) {
    plaintext.fill(0);
    throw invalid('it was altered, or sealed to another key, service or label', cause);
  }
  return plaintext;
}

function invalid(why: string, cause?: unknown): SallyportError {
  return new SallyportError(
    'sealed_box_invalid',
    `The sealed credential cannot be opened: ${why}. Take the intake key again and seal anew.`,
    { cause },
  );
}
