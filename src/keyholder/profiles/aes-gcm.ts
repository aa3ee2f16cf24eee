import { randomFillSync } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import { generateAesKey } from '../generate.ts';
import { gcmDecrypt, gcmEncrypt, IV_BYTES } from './gcm.ts';
import type { Profile } from './profile.ts';
import { boundAad, expectLength, payloadLength, TAG_BYTES } from './wrapped.ts';

const FORMAT = 1;
const HEAD_BYTES = 1 + IV_BYTES;
const MECHANISM = pkcs11.CKM_AES_GCM;

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
  summary: 'AES-256-GCM by C_Encrypt, with our random IV',
  mechanisms: [[pkcs11.CKM_AES_KEY_GEN], [MECHANISM]],
  kek: 'secret',
  binds: false,
  randomised: true,

  generate: (token, naming) => [generateAesKey(token, naming, [pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT])],

  wrap(token, { key }, dek, aad) {
    const wrapped = Buffer.allocUnsafeSlow(HEAD_BYTES + dek.length + TAG_BYTES);
    wrapped[0] = FORMAT;
    const iv = randomFillSync(wrapped.subarray(1, HEAD_BYTES));
    const call = { mechanism: MECHANISM, iv, aad: boundAad(FORMAT, aad) };
    const written = gcmEncrypt(token, key, call, dek, wrapped.subarray(HEAD_BYTES));
    expectLength(written, dek.length + TAG_BYTES);
    return wrapped;
  },

  unwrap(token, { key }, wrapped, aad) {
    const length = payloadLength(wrapped, FORMAT, HEAD_BYTES + TAG_BYTES);
    const call = { mechanism: MECHANISM, iv: wrapped.subarray(1, HEAD_BYTES), aad: boundAad(FORMAT, aad) };
    return gcmDecrypt(token, key, call, wrapped.subarray(HEAD_BYTES), length);
  },
};
