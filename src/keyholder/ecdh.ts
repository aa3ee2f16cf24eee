import pkcs11, { type Handle } from 'pkcs11js';
import type { Cryptoki } from './cryptoki.ts';
import { whole } from './hmac.ts';
import { checkPoint } from './point.ts';
import { readSecret } from './secret-object.ts';

const SHARED_BYTES = 32;

/**
 * ECDH of the private key `key` with `point`, an uncompressed P-256 point: the x coordinate, 32 bytes, which the caller
 * wipes. Throws hsm_refused for a point off the curve (it could tell bits of the key), and what the calls throw.
 */
export function ecdh(token: Cryptoki, key: Handle, point: Buffer): Buffer {
  checkPoint(point);
  const { lib, session } = token;
  const parameter = { type: pkcs11.CK_PARAMS_EC_DH, kdf: pkcs11.CKD_NULL, publicData: point };
  const shared = lib.C_DeriveKey(session, { mechanism: pkcs11.CKM_ECDH1_DERIVE, parameter }, key, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
    { type: pkcs11.CKA_VALUE_LEN, value: SHARED_BYTES },
    { type: pkcs11.CKA_TOKEN, value: false },
    { type: pkcs11.CKA_SENSITIVE, value: false },
    { type: pkcs11.CKA_EXTRACTABLE, value: true },
  ]);
  try {
    return whole(readSecret(token, shared, SHARED_BYTES), SHARED_BYTES);
  } finally {
    lib.C_DestroyObject(session, shared);
  }
}
