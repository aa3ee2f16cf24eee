import { createHash } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { readAttribute } from './cryptoki.ts';
import { find } from './keys.ts';
import { checkPoint } from './point.ts';
import { profileOf } from './profiles/registry.ts';
import type { Token } from './token.ts';

const MAC_BYTES = 32;
const SIGNATURE_BYTES = 64;
const SHARED_BYTES = 32;

/** Wraps `dek` with the newest KEK, whose label it gives. Throws what the calls throw. */
export function wrap(token: Token, dek: Buffer, aad: Buffer): { kek: string; wrapped: Buffer } {
  const { keys, profile } = token;
  return { kek: keys.newestKek, wrapped: profile.wrap(token, kekNamed(token, keys.newestKek), dek, aad) };
}

/** Unwraps with the KEK `kek`. The caller wipes what it gets. Throws hsm_key_missing, and what the calls throw. */
export function unwrap(token: Token, kek: string, wrapped: Buffer, aad: Buffer): Buffer {
  return profileOf(wrapped).unwrap(token, kekNamed(token, kek), wrapped, aad);
}

/** HMAC-SHA-256 of each message under the MAC key; 32 bytes each. */
export function mac(token: Token, messages: readonly Buffer[]): Buffer[] {
  const { lib, session, keys } = token;
  const all = Buffer.allocUnsafeSlow(MAC_BYTES * messages.length);
  return messages.map((message, index) => {
    const out = all.subarray(index * MAC_BYTES, (index + 1) * MAC_BYTES);
    lib.C_SignInit(session, { mechanism: pkcs11.CKM_SHA256_HMAC }, keys.mac);
    return whole(lib.C_Sign(session, message, out), MAC_BYTES);
  });
}

/** ECDSA P-256 over SHA-256 of `message` with the audit key: r‖s, 64 bytes. */
export function sign(token: Token, message: Buffer): Buffer {
  const { lib, session, keys } = token;
  const digest = createHash('sha256').update(message).digest();
  lib.C_SignInit(session, { mechanism: pkcs11.CKM_ECDSA }, keys.audit);
  return whole(lib.C_Sign(session, digest, Buffer.allocUnsafeSlow(SIGNATURE_BYTES)), SIGNATURE_BYTES);
}

/**
 * ECDH of the intake key with `point`, an uncompressed P-256 point: the x coordinate, 32 bytes, which the caller wipes.
 * Throws hsm_refused for a point off the curve (it could tell bits of the key), and what the calls throw.
 */
export function agree(token: Token, point: Buffer): Buffer {
  checkPoint(point);
  const { lib, session, keys } = token;
  const parameter = { type: pkcs11.CK_PARAMS_EC_DH, kdf: pkcs11.CKD_NULL, publicData: point };
  const shared = lib.C_DeriveKey(session, { mechanism: pkcs11.CKM_ECDH1_DERIVE, parameter }, keys.intake, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
    { type: pkcs11.CKA_VALUE_LEN, value: SHARED_BYTES },
    { type: pkcs11.CKA_TOKEN, value: false },
    { type: pkcs11.CKA_SENSITIVE, value: false },
    { type: pkcs11.CKA_EXTRACTABLE, value: true },
  ]);
  try {
    return whole(readAttribute(token, shared, pkcs11.CKA_VALUE), SHARED_BYTES);
  } finally {
    // pkcs11js reads attributes through memory that it frees unwiped. The next value of that size is laid over it.
    find(token, pkcs11.CKO_SECRET_KEY, '\0'.repeat(SHARED_BYTES));
    lib.C_DestroyObject(session, shared);
  }
}

function kekNamed({ keys }: Token, label: string): Buffer {
  const kek = keys.keks.get(label);
  if (kek) return kek;
  const message = `The token holds no KEK of that name: use the token that wrapped these credentials.`;
  throw new SallyportError('hsm_key_missing', message);
}

function whole(result: Buffer, length: number): Buffer {
  if (result.length === length) return result;
  result.fill(0);
  throw new SallyportError(
    'hsm_unavailable',
    `The HSM answered ${result.length} bytes instead of ${length}.`,
  );
}
