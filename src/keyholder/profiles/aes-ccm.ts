import { randomFillSync } from 'node:crypto';
import pkcs11, { type Mechanism } from 'pkcs11js';
import { generateAesKey } from '../generate.ts';
import type { Profile } from './profile.ts';
import { boundAad, expectLength, openInto, payloadLength, TAG_BYTES } from './wrapped.ts';

const FORMAT = 4;
const NONCE_BYTES = 13;
const HEAD_BYTES = 1 + NONCE_BYTES;

/**
 * AES-256-CCM (NIST SP 800-38C) with a random nonce of ours, in one C_Encrypt:
 *
 *   format (1) ‖ nonce (13) ‖ ciphertext ‖ tag (16), authenticated with format ‖ AAD
 */
export const aesCcm: Profile = {
  name: 'aes-ccm',
  format: FORMAT,
  summary: 'AES-256-CCM by C_Encrypt, with our random nonce',
  mechanisms: [[pkcs11.CKM_AES_KEY_GEN], [pkcs11.CKM_AES_CCM]],
  kek: 'secret',
  binds: false,
  randomised: true,

  generate: (token, naming) => [generateAesKey(token, naming, [pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT])],

  wrap({ lib, session }, { key }, dek, aad) {
    const wrapped = Buffer.allocUnsafeSlow(HEAD_BYTES + dek.length + TAG_BYTES);
    wrapped[0] = FORMAT;
    const nonce = randomFillSync(wrapped.subarray(1, HEAD_BYTES));
    const bound = boundAad(FORMAT, aad);
    lib.C_EncryptInit(session, mechanism(nonce, bound, dek.length), key);
    const { length } = lib.C_Encrypt(session, dek, wrapped.subarray(HEAD_BYTES));
    bound.fill(0); // and so alive until here, as modules need it
    expectLength(length, dek.length + TAG_BYTES);
    return wrapped;
  },

  unwrap({ lib, session }, { key }, wrapped, aad) {
    const length = payloadLength(wrapped, FORMAT, HEAD_BYTES + TAG_BYTES);
    const bound = boundAad(FORMAT, aad);
    const sealed = wrapped.subarray(HEAD_BYTES);
    lib.C_DecryptInit(session, mechanism(wrapped.subarray(1, HEAD_BYTES), bound, length), key);
    return openInto(sealed.length, length, (dek) => {
      const read = lib.C_Decrypt(session, sealed, dek);
      bound.fill(0);
      return read;
    });
  },
};

/** `dataLength`: of the plaintext, both ways (PKCS #11 v3.0, 6.11.3). */
function mechanism(nonce: Buffer, aad: Buffer, dataLength: number): Mechanism {
  const parameter = { type: pkcs11.CK_PARAMS_CCM, dataLength, nonce, aad, macLength: TAG_BYTES };
  return { mechanism: pkcs11.CKM_AES_CCM, parameter };
}
