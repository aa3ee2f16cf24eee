import { constants, createPublicKey, publicEncrypt } from 'node:crypto';
import pkcs11, { type Mechanism } from 'pkcs11js';
import { SallyportError } from '../../errors.ts';
import { readAttribute } from '../cryptoki.ts';
import { generateRsaPair } from '../generate.ts';
import { bind, unbind } from './binding.ts';
import type { Kek, Profile } from './profile.ts';
import { openInto } from './wrapped.ts';

const BITS = [3072, 2048];
const CKZ_DATA_SPECIFIED = 1;

/** Hashes of OAEP. With SHA-1 it is as sound (its proof asks for no collision resistance), and all that SoftHSM has. */
const HASHES = {
  sha256: { hashAlg: pkcs11.CKM_SHA256, mgf: pkcs11.CKG_MGF1_SHA256 },
  sha1: { hashAlg: pkcs11.CKM_SHA_1, mgf: pkcs11.CKG_MGF1_SHA1 },
} as const;

export const rsaOaepSha256: Profile = rsaOaep('rsa-oaep-sha256', 7, 'sha256');
export const rsaOaepSha1: Profile = rsaOaep('rsa-oaep-sha1', 8, 'sha1');

/**
 * RSA-OAEP (RFC 8017, 7.1), 3072 bits or what the token has, encrypted here and decrypted in the HSM; bound by HMAC:
 *
 *   format (1) ‖ as many bytes as the modulus has ‖ HMAC (32)
 */
function rsaOaep(name: string, format: number, hash: keyof typeof HASHES): Profile {
  const { hashAlg, mgf } = HASHES[hash];
  const parameter = { type: pkcs11.CK_PARAMS_RSA_OAEP, hashAlg, mgf, source: CKZ_DATA_SPECIFIED };
  const mechanism: Mechanism = { mechanism: pkcs11.CKM_RSA_PKCS_OAEP, parameter };
  return {
    name,
    format,
    summary: `RSA-OAEP with ${hash === 'sha1' ? 'SHA-1' : 'SHA-256'}, bound by HMAC`,
    mechanisms: [[pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN], [pkcs11.CKM_RSA_PKCS_OAEP], [pkcs11.CKM_SHA256_HMAC]],
    kek: 'pair',
    binds: true,
    randomised: true,

    generate(token, naming) {
      const most = token.mechanisms.get(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN)?.maxKeySize ?? 0;
      const bits = BITS.find((size) => size <= most) ?? 2048;
      const { privateKey, publicKey } = generateRsaPair(token, naming, bits);
      return [privateKey, publicKey];
    },

    readPublicKey(token, object) {
      const n = readAttribute(token, object, pkcs11.CKA_MODULUS).toString('base64url');
      const e = readAttribute(token, object, pkcs11.CKA_PUBLIC_EXPONENT).toString('base64url');
      return createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' }).export({
        type: 'spki',
        format: 'der',
      });
    },

    wrap(token, kek, dek, aad) {
      const key = { key: publicKeyOf(kek), format: 'der', type: 'spki' } as const;
      const padding = constants.RSA_PKCS1_OAEP_PADDING;
      return bind(token, kek, format, publicEncrypt({ ...key, padding, oaepHash: hash }, dek), aad);
    },

    unwrap(token, kek, wrapped, aad) {
      const sealed = unbind(token, kek, format, wrapped, aad);
      const { lib, session } = token;
      lib.C_DecryptInit(session, mechanism, kek.key);
      return openInto(sealed.length, undefined, (into) => lib.C_Decrypt(session, sealed, into));
    },
  };
}

function publicKeyOf({ label, publicKey }: Kek): Buffer {
  if (publicKey) return publicKey;
  throw new SallyportError('hsm_key_missing', `The token has no public half of ${label}.`);
}
