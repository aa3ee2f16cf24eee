import { randomFillSync } from 'node:crypto';
import pkcs11, { type Handle, type Mechanism } from 'pkcs11js';
import { SallyportError } from '../../errors.ts';
import type { Cryptoki } from '../cryptoki.ts';
import { generateSecretKey } from '../generate.ts';
import type { Profile } from './profile.ts';

const FORMAT = 1;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const HEAD_BYTES = 1 + IV_BYTES;

/**
 * AES-256-GCM (NIST SP 800-38D) with a random IV of ours, in one C_Encrypt:
 *
 *   format (1) ‖ IV (12) ‖ ciphertext ‖ tag (16), authenticated with format ‖ AAD
 *
 * Random 96-bit IVs hold for 2^32 wraps under one KEK; one credential version takes one. Both calls work in our own
 * buffers: graphene's cipher left 200 copies of the DEK, this leaves none (measured, ARCHITECTURE.md).
 */
export const aesGcm: Profile = {
  name: 'aes-gcm',
  format: FORMAT,
  mechanisms: [pkcs11.CKM_AES_KEY_GEN, pkcs11.CKM_AES_GCM],

  generate(token: Cryptoki, label: string): Handle {
    return generateSecretKey(token, pkcs11.CKM_AES_KEY_GEN, [
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
      { type: pkcs11.CKA_LABEL, value: label },
      { type: pkcs11.CKA_ENCRYPT, value: true },
      { type: pkcs11.CKA_DECRYPT, value: true },
      { type: pkcs11.CKA_SIGN, value: false },
      { type: pkcs11.CKA_VERIFY, value: false },
    ]);
  },

  wrap({ lib, session }: Cryptoki, kek: Handle, dek: Buffer, aad: Buffer): Buffer {
    const wrapped = Buffer.allocUnsafeSlow(HEAD_BYTES + dek.length + TAG_BYTES);
    wrapped[0] = FORMAT;
    const iv = randomFillSync(wrapped.subarray(1, HEAD_BYTES));
    lib.C_EncryptInit(session, mechanism(iv, aad), kek);
    const written = lib.C_Encrypt(session, dek, wrapped.subarray(HEAD_BYTES));
    if (written.length !== dek.length + TAG_BYTES) {
      throw new SallyportError(
        'hsm_unavailable',
        'The HSM wrapped a key to a length that AES-GCM does not give.',
      );
    }
    return wrapped;
  },

  unwrap({ lib, session }: Cryptoki, kek: Handle, wrapped: Buffer, aad: Buffer): Buffer {
    const length = wrapped.length - HEAD_BYTES - TAG_BYTES;
    if (wrapped[0] !== FORMAT || length <= 0) {
      throw new SallyportError('hsm_refused', 'The wrapped key is not whole: it was changed.');
    }
    lib.C_DecryptInit(session, mechanism(wrapped.subarray(1, HEAD_BYTES), aad), kek);
    // As long as the input: some modules want that much room before they look at the tag.
    const dek = Buffer.allocUnsafeSlow(wrapped.length - HEAD_BYTES);
    try {
      const read = lib.C_Decrypt(session, wrapped.subarray(HEAD_BYTES), dek);
      if (read.length === length) return read;
    } catch (error) {
      dek.fill(0);
      throw error;
    }
    dek.fill(0);
    throw new SallyportError('hsm_refused', 'The wrapped key opened to a length that it cannot have.');
  },
};

function mechanism(iv: Buffer, aad: Buffer): Mechanism {
  const bound = Buffer.concat([Buffer.of(FORMAT), aad]);
  const parameter = {
    type: pkcs11.CK_PARAMS_AES_GCM_v240,
    iv,
    ivBits: IV_BYTES * 8,
    aad: bound,
    tagBits: TAG_BYTES * 8,
  };
  return { mechanism: pkcs11.CKM_AES_GCM, parameter };
}
