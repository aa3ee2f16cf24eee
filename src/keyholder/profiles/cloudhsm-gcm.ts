import pkcs11 from 'pkcs11js';
import { generateAesKey } from '../generate.ts';
import { CKM_CLOUDHSM_AES_GCM } from '../mechanisms.ts';
import { gcmDecrypt, gcmEncrypt, IV_BYTES } from './gcm.ts';
import type { Profile } from './profile.ts';
import { boundAad, expectLength, payloadLength, TAG_BYTES } from './wrapped.ts';

const FORMAT = 3;
const NO_IV = Buffer.alloc(0);

/**
 * AES-256-GCM by AWS CloudHSM's own mechanism: the HSM makes the IV and puts it before the ciphertext, and takes it
 * from there again. AWS calls it the safer of its two: no IV passes through the parameters.
 *
 *   format (1) ‖ IV (12) ‖ ciphertext ‖ tag (16), authenticated with format ‖ AAD
 */
export const cloudHsmGcm: Profile = {
  name: 'cloudhsm-gcm',
  format: FORMAT,
  summary: "AES-256-GCM by AWS CloudHSM's mechanism, with an IV that the HSM makes and puts first",
  mechanisms: [[pkcs11.CKM_AES_KEY_GEN], [CKM_CLOUDHSM_AES_GCM]],
  kek: 'secret',
  binds: false,
  randomised: true,

  generate: (token, naming) => [generateAesKey(token, naming, [pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT])],

  wrap(token, { key }, dek, aad) {
    const wrapped = Buffer.allocUnsafeSlow(1 + IV_BYTES + dek.length + TAG_BYTES);
    wrapped[0] = FORMAT;
    const call = { mechanism: CKM_CLOUDHSM_AES_GCM, iv: NO_IV, aad: boundAad(FORMAT, aad) };
    const written = gcmEncrypt(token, key, call, dek, wrapped.subarray(1));
    expectLength(written, IV_BYTES + dek.length + TAG_BYTES);
    return wrapped;
  },

  unwrap(token, { key }, wrapped, aad) {
    const length = payloadLength(wrapped, FORMAT, 1 + IV_BYTES + TAG_BYTES);
    const call = { mechanism: CKM_CLOUDHSM_AES_GCM, iv: NO_IV, aad: boundAad(FORMAT, aad) };
    return gcmDecrypt(token, key, call, wrapped.subarray(1), length);
  },
};
