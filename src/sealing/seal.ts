import { createCipheriv, createECDH } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { deriveBoxKey, MAX_PLAINTEXT, POINT_BYTES } from './suite.ts';

/** `enc` is the sender's ephemeral point (65 bytes, uncompressed); `ciphertext` ends with a 16-byte tag. */
export interface SealedBox {
  readonly enc: Buffer;
  readonly ciphertext: Buffer;
}

/**
 * Seals `plaintext` (at most 64 KiB; the caller wipes it) so that only the HSM that holds the intake key can help to
 * open it: HPKE base mode (RFC 9180, 6.1). `info` and `aad` must be the same when it is opened.
 * Throws invalid_argument where the public key is no uncompressed point of P-256, invalid_credential where the
 * plaintext is too long.
 */
export function seal(intakePublicKey: Buffer, info: Buffer, aad: Buffer, plaintext: Uint8Array): SealedBox {
  if (plaintext.length > MAX_PLAINTEXT) {
    throw new SallyportError(
      'invalid_credential',
      `The credential's fields take ${plaintext.length} bytes; at most ${MAX_PLAINTEXT} can be sealed.`,
    );
  }
  const ephemeral = createECDH('prime256v1');
  const enc = ephemeral.generateKeys();
  const sharedX = agree(ephemeral, intakePublicKey);
  const { key, nonce } = deriveBoxKey(sharedX, enc, intakePublicKey, info);
  sharedX.fill(0);
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(aad);
  key.fill(0);
  const sealed = cipher.update(plaintext);
  cipher.final();
  return { enc, ciphertext: Buffer.concat([sealed, cipher.getAuthTag()]) };
}

function agree(ephemeral: ReturnType<typeof createECDH>, intakePublicKey: Buffer): Buffer {
  try {
    if (intakePublicKey.length !== POINT_BYTES || intakePublicKey[0] !== 4) {
      throw new RangeError('not an uncompressed point');
    }
    return ephemeral.computeSecret(intakePublicKey);
  } catch (cause) {
    throw new SallyportError(
      'invalid_argument',
      'The intake key is not an uncompressed point of P-256. Take it from the vault again.',
      { cause },
    );
  }
}
