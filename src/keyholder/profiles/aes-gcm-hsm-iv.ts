import pkcs11 from 'pkcs11js';
import { SallyportError } from '../../errors.ts';
import { generateAesKey } from '../generate.ts';
import { gcmDecrypt, gcmEncrypt, IV_BYTES } from './gcm.ts';
import type { Profile } from './profile.ts';
import { boundAad, expectLength, payloadLength, TAG_BYTES } from './wrapped.ts';

const FORMAT = 2;
const HEAD_BYTES = 1 + IV_BYTES;
const MECHANISM = pkcs11.CKM_AES_GCM;

/**
 * AES-256-GCM where the HSM makes the IV and writes it over the zeros that CK_GCM_PARAMS.pIv points to (AWS CloudHSM,
 * and tokens in FIPS mode, which take no IV from outside):
 *
 *   format (1) ‖ IV (12) ‖ ciphertext ‖ tag (16), authenticated with format ‖ AAD
 *
 * An IV that is still all zeros means that the token used the zeros: refused, for a second wrap would give the key away.
 */
export const aesGcmHsmIv: Profile = {
  name: 'aes-gcm-hsm-iv',
  format: FORMAT,
  summary: 'AES-256-GCM by C_Encrypt, with an IV that the HSM makes and writes back',
  mechanisms: [[pkcs11.CKM_AES_KEY_GEN], [MECHANISM]],
  kek: 'secret',
  binds: false,
  randomised: true,

  generate: (token, naming) => [generateAesKey(token, naming, [pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT])],

  wrap(token, { key }, dek, aad) {
    const wrapped = Buffer.allocUnsafeSlow(HEAD_BYTES + dek.length + TAG_BYTES);
    wrapped[0] = FORMAT;
    const iv = wrapped.subarray(1, HEAD_BYTES).fill(0);
    const call = { mechanism: MECHANISM, iv, aad: boundAad(FORMAT, aad) };
    const written = gcmEncrypt(token, key, call, dek, wrapped.subarray(HEAD_BYTES));
    expectLength(written, dek.length + TAG_BYTES);
    if (iv.every((byte) => byte === 0)) {
      const message = 'The HSM made no IV of its own: wrap with another profile.';
      throw new SallyportError('hsm_mechanism_missing', message);
    }
    return wrapped;
  },

  unwrap(token, { key }, wrapped, aad) {
    const length = payloadLength(wrapped, FORMAT, HEAD_BYTES + TAG_BYTES);
    // A copy: a module that writes into this memory while it opens would change what it opens.
    const call = {
      mechanism: MECHANISM,
      iv: Buffer.from(wrapped.subarray(1, HEAD_BYTES)),
      aad: boundAad(FORMAT, aad),
    };
    return gcmDecrypt(token, key, call, wrapped.subarray(HEAD_BYTES), length);
  },
};
