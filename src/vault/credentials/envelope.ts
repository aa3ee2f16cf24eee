import { createCipheriv, createDecipheriv, randomFillSync } from 'node:crypto';
import { SallyportError } from '../../errors.ts';
import { overlayDecrypted } from '../../sealing/overlay.ts';
import { allocateSecret } from '../../secret-buffer.ts';
import type { KeyholderClient } from '../keyholder.ts';

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CIPHER = 'aes-256-gcm';

/** What is stored of a sealed value. Useless without the HSM, and anywhere but under the AAD that it was sealed with. */
export interface Envelope {
  /** nonce (12 bytes) ‖ ciphertext ‖ tag (16 bytes). */
  readonly sealed: Buffer;
  /** The DEK, wrapped by the KEK under the same AAD. */
  readonly dek: Buffer;
  /** The KEK's label. */
  readonly kek: string;
}

/** Seals `plaintext`, which the caller wipes, under a DEK of its own. Throws hsm_unavailable. */
export async function sealEnvelope(
  keyholder: KeyholderClient,
  aad: Buffer,
  plaintext: Uint8Array,
): Promise<Envelope> {
  const dek = allocateSecret(KEY_BYTES);
  try {
    randomFillSync(dek);
    const nonce = randomFillSync(Buffer.allocUnsafeSlow(NONCE_BYTES));
    const sealed = encrypt(dek, nonce, aad, plaintext);
    const { wrapped, kek } = await keyholder.wrap(dek, aad);
    return { sealed, dek: wrapped, kek };
  } finally {
    dek.fill(0);
  }
}

/**
 * Opens an envelope into memory of its own, which the caller wipes. Throws hsm_unavailable; integrity_failed where the
 * envelope is not one that was sealed under this AAD.
 */
export async function openEnvelope(
  keyholder: KeyholderClient,
  aad: Buffer,
  envelope: Envelope,
): Promise<Buffer> {
  const dek = await keyholder.unwrap(envelope.dek, aad, envelope.kek).catch((cause: unknown) => {
    if (cause instanceof SallyportError && cause.code === 'hsm_refused') throw foreign(cause);
    throw cause;
  });
  try {
    if (dek.length !== KEY_BYTES) throw foreign();
    return decrypt(dek, aad, envelope.sealed);
  } finally {
    dek.fill(0);
  }
}

/** AES-256-GCM: nonce ‖ ciphertext ‖ tag. A nonce is never used twice, since a DEK seals one value. */
export function encrypt(dek: Buffer, nonce: Buffer, aad: Buffer, plaintext: Uint8Array): Buffer {
  const cipher = createCipheriv(CIPHER, dek, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(aad);
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  return Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]);
}

/**
 * The inverse. GCM's `update` returns the whole plaintext in one block of its own, so nothing is concatenated, and
 * `final` is always called: this way no copy stays behind (measured, ARCHITECTURE.md). Throws integrity_failed.
 */
export function decrypt(dek: Buffer, aad: Buffer, sealed: Buffer): Buffer {
  const end = sealed.length - TAG_BYTES;
  if (end < NONCE_BYTES) throw foreign();
  const nonce = sealed.subarray(0, NONCE_BYTES);
  const decipher = createDecipheriv(CIPHER, dek, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(end));
  const plaintext = decipher.update(sealed.subarray(NONCE_BYTES, end));
  overlayDecrypted(plaintext.length);
  try {
    decipher.final();
    return plaintext;
  } catch (cause) {
    plaintext.fill(0);
    throw foreign(cause);
  }
}

function foreign(cause?: unknown): SallyportError {
  return new SallyportError(
    'integrity_failed',
    'A sealed value does not open where it lies: it was altered or moved here. Restore the database from a backup.',
    { cause },
  );
}
