import { constants, publicEncrypt } from 'node:crypto';
import pkcs11, { type Mechanism } from 'pkcs11js';
import { generateRsaPair } from '../generate.ts';
import { rsaPublicKey } from '../point.ts';
import type { PublicKeyWay } from './public-key.ts';
import { openInto } from './wrapped.ts';

const BITS = [3072, 2048];
const CKZ_DATA_SPECIFIED = 1;

/** Hashes of OAEP. With SHA-1 it is as sound (its proof asks for no collision resistance), and all that SoftHSM has. */
const HASHES = {
  sha256: { name: 'SHA-256', hashAlg: pkcs11.CKM_SHA256, mgf: pkcs11.CKG_MGF1_SHA256 },
  sha1: { name: 'SHA-1', hashAlg: pkcs11.CKM_SHA_1, mgf: pkcs11.CKG_MGF1_SHA1 },
} as const;

export const rsaOaepSha256: PublicKeyWay = rsaOaep(7, 'sha256');
export const rsaOaepSha1: PublicKeyWay = rsaOaep(8, 'sha1');

/**
 * RSA-OAEP (RFC 8017, 7.1) with 3072 bits, or 2048 where the token has no more: encrypted here, decrypted in the HSM. Its
 * label stays empty, as SoftHSM wants it: the AAD is not in it.
 */
function rsaOaep(format: number, hash: keyof typeof HASHES): PublicKeyWay {
  const { name, hashAlg, mgf } = HASHES[hash];
  const parameter = { type: pkcs11.CK_PARAMS_RSA_OAEP, hashAlg, mgf, source: CKZ_DATA_SPECIFIED };
  const mechanism: Mechanism = { mechanism: pkcs11.CKM_RSA_PKCS_OAEP, parameter };
  return {
    name: `rsa-oaep-${hash}`,
    format,
    summary: `RSA-OAEP with ${name}`,
    mechanisms: [pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS_OAEP],

    generate(token, naming) {
      const most = token.mechanisms.get(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN)?.maxKeySize ?? 0;
      const bits = BITS.find((size) => size <= most) ?? 2048;
      const { privateKey, publicKey } = generateRsaPair(token, naming, bits);
      return [privateKey, publicKey];
    },

    readPublicKey(token, object) {
      return rsaPublicKey(token, object).export({ type: 'spki', format: 'der' });
    },

    seal(publicKey, secret) {
      const key = { key: publicKey, format: 'der', type: 'spki' } as const;
      return publicEncrypt({ ...key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: hash }, secret);
    },

    open({ lib, session }, key, _publicKey, sealed) {
      lib.C_DecryptInit(session, mechanism, key);
      return openInto(sealed.length, undefined, (into) => lib.C_Decrypt(session, sealed, into));
    },
  };
}
