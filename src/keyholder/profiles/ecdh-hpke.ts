import pkcs11 from 'pkcs11js';
import { SallyportError } from '../../errors.ts';
import { open } from '../../sealing/open.ts';
import { seal } from '../../sealing/seal.ts';
import { readAttribute } from '../cryptoki.ts';
import { ecdh } from '../ecdh.ts';
import { generateEcPair } from '../generate.ts';
import { POINT_BYTES, pointOf } from '../point.ts';
import { bind, unbind } from './binding.ts';
import type { Profile } from './profile.ts';

const FORMAT = 9;
const INFO = Buffer.from('sallyport wrap v1', 'latin1');

/**
 * HPKE (RFC 9180: DHKEM P-256, HKDF-SHA256, AES-256-GCM) to the KEK, whose private half derives in the HSM; bound by
 * HMAC as well, since anybody may seal to a public key:
 *
 *   format (1) ‖ ephemeral point (65) ‖ ciphertext ‖ tag (16) ‖ HMAC (32)
 */
export const ecdhHpke: Profile = {
  name: 'ecdh-hpke',
  format: FORMAT,
  summary: 'ECDH on P-256 with HPKE (RFC 9180), bound by HMAC',
  mechanisms: [[pkcs11.CKM_EC_KEY_PAIR_GEN], [pkcs11.CKM_ECDH1_DERIVE], [pkcs11.CKM_SHA256_HMAC]],
  kek: 'pair',
  binds: true,
  randomised: true,

  generate(token, naming) {
    const { privateKey, publicKey } = generateEcPair(token, naming, pkcs11.CKA_DERIVE);
    return [privateKey, publicKey];
  },

  readPublicKey: (token, object) => pointOf(readAttribute(token, object, pkcs11.CKA_EC_POINT)),

  wrap(token, kek, dek, aad) {
    const { enc, ciphertext } = seal(publicPoint(kek.publicKey), INFO, aad, dek);
    return bind(token, kek, FORMAT, Buffer.concat([enc, ciphertext]), aad);
  },

  unwrap(token, kek, wrapped, aad) {
    const sealed = unbind(token, kek, FORMAT, wrapped, aad);
    const enc = Buffer.from(sealed.subarray(0, POINT_BYTES));
    const shared = ecdh(token, kek.key, enc);
    try {
      return open(enc, shared, publicPoint(kek.publicKey), INFO, aad, sealed.subarray(POINT_BYTES));
    } catch (cause) {
      const message = 'The wrapped key does not open: it was changed, or its KEK is another.';
      throw new SallyportError('hsm_refused', message, { cause });
    } finally {
      shared.fill(0);
    }
  },
};

function publicPoint(publicKey: Buffer | undefined): Buffer {
  if (publicKey) return publicKey;
  throw new SallyportError('hsm_key_missing', 'The token has no public half of its KEK.');
}
