import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import type { Cryptoki } from './cryptoki.ts';

export const MAC_BYTES = 32;

/** HMAC-SHA-256 of `message` under `key`, in the HSM, into `out` (32 bytes). Throws what the calls throw. */
export function hmac({ lib, session }: Cryptoki, key: Handle, message: Buffer, out: Buffer): Buffer {
  lib.C_SignInit(session, { mechanism: pkcs11.CKM_SHA256_HMAC }, key);
  return whole(lib.C_Sign(session, message, out), MAC_BYTES);
}

/** Throws hsm_unavailable where the HSM gave fewer or more bytes than the mechanism does; those are wiped. */
export function whole(result: Buffer, length: number): Buffer {
  if (result.length === length) return result;
  result.fill(0);
  throw new SallyportError(
    'hsm_unavailable',
    `The HSM answered ${result.length} bytes instead of ${length}: check its module and firmware.`,
  );
}
