import { createHash } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { agreement, macs } from './held-key.ts';
import { whole } from './hmac.ts';
import type { KekVersion } from './keks.ts';
import { refreshKeys } from './refresh-keys.ts';
import type { Token } from './token.ts';

const SIGNATURE_BYTES = 64;

/** Wraps `dek` with the newest KEK, whose label it gives. Throws what the calls throw. */
export function wrap(token: Token, dek: Buffer, aad: Buffer): { kek: string; wrapped: Buffer } {
  const { newest } = token.keys;
  return { kek: newest.label, wrapped: newest.profile.wrap(token, newest, dek, aad) };
}

/** Unwraps with the KEK `kek`. The caller wipes what it gets. Throws hsm_key_missing, and what the calls throw. */
export function unwrap(token: Token, kek: string, wrapped: Buffer, aad: Buffer): Buffer {
  const version = kekNamed(token, kek);
  if (wrapped[0] !== version.profile.format) {
    const message = `The wrapped key is not of the form that ${kek} wraps to: it was changed.`;
    throw new SallyportError('hsm_refused', message);
  }
  return version.profile.unwrap(token, version, wrapped, aad);
}

/**
 * Takes wrapped DEKs, each with its AAD, from the KEK `from` to the KEK `to`, in order. None of them leaves this call.
 * Throws as `unwrap` does: all or nothing.
 */
export function rewrap(
  token: Token,
  from: string,
  to: string,
  deks: readonly (readonly [wrapped: Buffer, aad: Buffer])[],
): Buffer[] {
  const next = kekNamed(token, to);
  return deks.map(([wrapped, aad]) => {
    const dek = unwrap(token, from, wrapped, aad);
    try {
      return next.profile.wrap(token, next, dek, aad);
    } finally {
      dek.fill(0);
    }
  });
}

/** HMAC-SHA-256 of each message under the MAC key; 32 bytes each. */
export function mac(token: Token, messages: readonly Buffer[]): Buffer[] {
  return macs(token, token.keys.mac, messages);
}

/** ECDSA P-256 over SHA-256 of `message` with the audit key: r‖s, 64 bytes. */
export function sign(token: Token, message: Buffer): Buffer {
  const { lib, session, keys } = token;
  const digest = createHash('sha256').update(message).digest();
  lib.C_SignInit(session, { mechanism: pkcs11.CKM_ECDSA }, keys.audit);
  return whole(lib.C_Sign(session, digest, Buffer.allocUnsafeSlow(SIGNATURE_BYTES)), SIGNATURE_BYTES);
}

/** ECDH of the intake key with `point`: 32 bytes, which the caller wipes. Throws hsm_refused, and what the calls throw. */
export function agree(token: Token, point: Buffer): Buffer {
  return agreement(token, token.keys.intake, point);
}

/** Another keyholder may have made it since: then the token is asked again. Throws hsm_key_missing. */
function kekNamed(token: Token, label: string): KekVersion {
  const kek = token.keys.keks.get(label) ?? refreshKeys(token).keks.get(label);
  if (kek) return kek;
  const message = 'The token holds no KEK of that name: use the token that wrapped these credentials.';
  throw new SallyportError('hsm_key_missing', message);
}
