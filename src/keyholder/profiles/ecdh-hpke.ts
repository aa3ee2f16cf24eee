import pkcs11 from 'pkcs11js';
import { SallyportError } from '../../errors.ts';
import { open } from '../../sealing/open.ts';
import { seal } from '../../sealing/seal.ts';
import { readAttribute } from '../cryptoki.ts';
import { ecdh } from '../ecdh.ts';
import { generateEcPair } from '../generate.ts';
import { POINT_BYTES, pointOf } from '../point.ts';
import type { PublicKeyWay } from './public-key.ts';

const INFO = Buffer.from('sallyport wrap v1', 'latin1');

/**
 * HPKE (RFC 9180: DHKEM P-256, HKDF-SHA256, AES-256-GCM) to a pair whose private half derives in the HSM: ephemeral point
 * (65) ‖ ciphertext ‖ tag (16). The rest of HPKE is done here.
 */
export const ecdhHpke: PublicKeyWay = {
  name: 'ecdh-hpke',
  format: 9,
  summary: 'ECDH on P-256 with HPKE (RFC 9180)',
  mechanisms: [pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_ECDH1_DERIVE],

  generate(token, naming) {
    const { privateKey, publicKey } = generateEcPair(token, naming, pkcs11.CKA_DERIVE);
    return [privateKey, publicKey];
  },

  readPublicKey: (token, object) => pointOf(readAttribute(token, object, pkcs11.CKA_EC_POINT)),

  seal(publicKey, secret, aad) {
    const { enc, ciphertext } = seal(publicKey, INFO, aad, secret);
    return Buffer.concat([enc, ciphertext]);
  },

  open(token, key, publicKey, sealed, aad) {
    const enc = Buffer.from(sealed.subarray(0, POINT_BYTES));
    const shared = ecdh(token, key, enc);
    try {
      return open(enc, shared, publicKey, INFO, aad, sealed.subarray(POINT_BYTES));
    } catch (cause) {
      const message = 'The wrapped key does not open: it was changed, or its KEK is another.';
      throw new SallyportError('hsm_refused', message, { cause });
    } finally {
      shared.fill(0);
    }
  },
};
