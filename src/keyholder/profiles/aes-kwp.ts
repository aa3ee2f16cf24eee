import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../../errors.ts';
import type { Cryptoki } from '../cryptoki.ts';
import { generateAesKey } from '../generate.ts';
import { CKM_AES_KEY_WRAP_KWP, CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD, type Mechanisms } from '../mechanisms.ts';
import { readSecret, secretObject } from '../secret-object.ts';
import { bind, unbind } from './binding.ts';
import type { Profile } from './profile.ts';
import { expectLength, openInto } from './wrapped.ts';

const FORMAT = 6;
/** RFC 5649 by its names, the clear ones first: CKM_AES_KEY_WRAP_PAD is it in some modules, PKCS #7 padding in others. */
const NAMES = [CKM_AES_KEY_WRAP_KWP, CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD, pkcs11.CKM_AES_KEY_WRAP_PAD];
const BOTH_WAYS = pkcs11.CKF_ENCRYPT | pkcs11.CKF_DECRYPT;

/**
 * AES-256 key wrap with padding (RFC 5649), which takes no AAD; bound by HMAC:
 *
 *   format (1) ‖ length of the DEK (1) ‖ 8 bytes more than that, rounded up to 8 ‖ HMAC (32)
 *
 * By C_Encrypt where the token lets it, else by C_WrapKey of a session object that holds the DEK for that call. The
 * length stands there because SoftHSM pads before it wraps and so forgets it.
 */
export const aesKwp: Profile = {
  name: 'aes-kwp',
  format: FORMAT,
  summary: 'AES-256 key wrap with padding (RFC 5649), bound by HMAC',
  mechanisms: [[pkcs11.CKM_AES_KEY_GEN], NAMES],
  kek: 'secret',
  binds: true,
  randomised: false,

  generate(token, naming) {
    const may = choose(token.mechanisms).encrypts
      ? [pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT]
      : [pkcs11.CKA_WRAP, pkcs11.CKA_UNWRAP];
    return [generateAesKey(token, naming, may)];
  },

  wrap(token, kek, dek, aad) {
    const expected = 8 * Math.ceil(dek.length / 8) + 8;
    const into = Buffer.allocUnsafeSlow(1 + expected + 8); // room for PKCS #7 padding, to be told from it
    into[0] = dek.length;
    expectLength(seal(token, kek.key, dek, into.subarray(1)).length, expected);
    return bind(token, kek, FORMAT, into.subarray(0, 1 + expected), aad);
  },

  unwrap(token, kek, wrapped, aad) {
    const sealed = unbind(token, kek, FORMAT, wrapped, aad);
    const padded = open(token, kek.key, sealed.subarray(1));
    const length = sealed[0] ?? 0;
    if (length > 0 && length <= padded.length && padded.subarray(length).every((byte) => byte === 0)) {
      return padded.subarray(0, length);
    }
    padded.fill(0);
    throw new SallyportError('hsm_refused', 'The wrapped key opened to a length that it cannot have.');
  },
};

function choose(mechanisms: Mechanisms): { mechanism: number; encrypts: boolean } {
  for (const mechanism of NAMES) {
    const offer = mechanisms.get(mechanism);
    if (offer) return { mechanism, encrypts: (offer.flags & BOTH_WAYS) === BOTH_WAYS };
  }
  throw new SallyportError('hsm_mechanism_missing', 'The token has no AES key wrap with padding any more.');
}

function seal(token: Cryptoki, kek: Handle, dek: Buffer, into: Buffer): Buffer {
  const { lib, session, mechanisms } = token;
  const { mechanism, encrypts } = choose(mechanisms);
  if (encrypts) {
    lib.C_EncryptInit(session, { mechanism }, kek);
    return lib.C_Encrypt(session, dek, into);
  }
  const object = secretObject(token, dek);
  try {
    return lib.C_WrapKey(session, { mechanism }, kek, object, into);
  } finally {
    lib.C_DestroyObject(session, object);
  }
}

function open(token: Cryptoki, kek: Handle, sealed: Buffer): Buffer {
  const { lib, session, mechanisms } = token;
  const { mechanism, encrypts } = choose(mechanisms);
  if (encrypts) {
    lib.C_DecryptInit(session, { mechanism }, kek);
    return openInto(sealed.length, undefined, (into) => lib.C_Decrypt(session, sealed, into));
  }
  const object = lib.C_UnwrapKey(session, { mechanism }, kek, sealed, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
    { type: pkcs11.CKA_TOKEN, value: false },
    { type: pkcs11.CKA_SENSITIVE, value: false },
    { type: pkcs11.CKA_EXTRACTABLE, value: true },
  ]);
  try {
    return readSecret(token, object, sealed.length - 8);
  } finally {
    lib.C_DestroyObject(session, object);
  }
}
