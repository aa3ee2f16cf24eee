import pkcs11, { type Handle } from 'pkcs11js';
import type { Cryptoki } from '../cryptoki.ts';
import { openInto, TAG_BYTES } from './wrapped.ts';

export const IV_BYTES = 12;

/** The parameters of one GCM operation. */
export interface GcmCall {
  readonly mechanism: number;
  /** Empty where the mechanism has it elsewhere. The module may write one of its own into it, until C_Encrypt returns. */
  readonly iv: Buffer;
  /** Format ‖ AAD. */
  readonly aad: Buffer;
}

/** One C_Encrypt of `dek` into `into`; returns how many bytes were written. Throws what the calls throw. */
export function gcmEncrypt(
  { lib, session }: Cryptoki,
  kek: Handle,
  call: GcmCall,
  dek: Buffer,
  into: Buffer,
) {
  lib.C_EncryptInit(session, parameters(call), kek);
  const { length } = lib.C_Encrypt(session, dek, into);
  // Modules keep the pointers that they were given until here; without a use the memory might be gone by then.
  call.aad.fill(0);
  return length;
}

/**
 * One C_Decrypt of `sealed` to `length` bytes in memory of their own, which the caller wipes. Throws hsm_refused, and
 * what the calls throw.
 */
export function gcmDecrypt(
  { lib, session }: Cryptoki,
  kek: Handle,
  call: GcmCall,
  sealed: Buffer,
  length: number,
): Buffer {
  lib.C_DecryptInit(session, parameters(call), kek);
  return openInto(sealed.length, length, (dek) => {
    const read = lib.C_Decrypt(session, sealed, dek);
    call.aad.fill(0);
    return read;
  });
}

function parameters({ mechanism, iv, aad }: GcmCall) {
  const parameter = {
    type: pkcs11.CK_PARAMS_AES_GCM_v240,
    iv,
    ivBits: iv.length * 8,
    aad,
    tagBits: TAG_BYTES * 8,
  };
  return { mechanism, parameter };
}
