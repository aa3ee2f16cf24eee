import pkcs11 from 'pkcs11js';
import { generateSecretKey } from '../generate.ts';
import { CKM_YUBICO_AES_CCM_WRAP } from '../mechanisms.ts';
import { bind, unbind } from './binding.ts';
import type { Profile } from './profile.ts';
import { expectLength, openInto, TAG_BYTES } from './wrapped.ts';

const FORMAT = 5;
const CKK_YUBICO_AES256_CCM_WRAP = 0xd955422a;
const NONCE_BYTES = 13;
const MECHANISM = { mechanism: CKM_YUBICO_AES_CCM_WRAP };

/**
 * AES-256-CCM by YubiHSM 2's wrap-data command, which makes the nonce itself and takes no AAD; bound by HMAC instead:
 *
 *   format (1) ‖ nonce (13), ciphertext and tag (16), in the device's order ‖ HMAC (32)
 *
 * The HMAC is checked first: a YubiHSM answers a changed ciphertext as if the device had failed.
 */
export const yubiHsmCcm: Profile = {
  name: 'yubihsm-ccm',
  format: FORMAT,
  summary: "AES-256-CCM by YubiHSM 2's wrap-data, bound by HMAC",
  mechanisms: [[pkcs11.CKM_GENERIC_SECRET_KEY_GEN], [CKM_YUBICO_AES_CCM_WRAP]],
  kek: 'secret',
  binds: true,
  randomised: true,

  generate(token, naming) {
    const may = [pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT];
    const generation = pkcs11.CKM_GENERIC_SECRET_KEY_GEN;
    return [generateSecretKey(token, generation, naming, CKK_YUBICO_AES256_CCM_WRAP, may, undefined)];
  },

  wrap(token, kek, dek, aad) {
    const { lib, session } = token;
    const sealed = Buffer.allocUnsafeSlow(NONCE_BYTES + dek.length + TAG_BYTES);
    lib.C_EncryptInit(session, MECHANISM, kek.key);
    expectLength(lib.C_Encrypt(session, dek, sealed).length, sealed.length);
    return bind(token, kek, FORMAT, sealed, aad);
  },

  unwrap(token, kek, wrapped, aad) {
    const { lib, session } = token;
    const sealed = unbind(token, kek, FORMAT, wrapped, aad);
    lib.C_DecryptInit(session, MECHANISM, kek.key);
    return openInto(sealed.length, sealed.length - NONCE_BYTES - TAG_BYTES, (dek) =>
      lib.C_Decrypt(session, sealed, dek),
    );
  },
};
