import pkcs11, { type Handle } from 'pkcs11js';
import { copySecret } from '../secret-buffer.ts';
import { type Cryptoki, readAttribute } from './cryptoki.ts';
import { search } from './find.ts';

/**
 * Reads the value of a session key that may be read, of up to 64 bytes, about `length`. The caller wipes it, and
 * destroys the object. Throws what the call throws.
 */
export function readSecret(token: Cryptoki, object: Handle, length: number): Buffer {
  try {
    return readAttribute(token, object, pkcs11.CKA_VALUE);
  } finally {
    overlay(token, length);
  }
}

/** Puts `secret` into a session object that C_WrapKey can wrap. The caller destroys it. Throws what the call throws. */
export function secretObject(token: Cryptoki, secret: Buffer): Handle {
  const { lib, session } = token;
  const value = copySecret(secret);
  try {
    return lib.C_CreateObject(session, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_PRIVATE, value: true },
      { type: pkcs11.CKA_SENSITIVE, value: false },
      { type: pkcs11.CKA_EXTRACTABLE, value: true },
      { type: pkcs11.CKA_VALUE, value },
    ]);
  } finally {
    value.fill(0);
    overlay(token, secret.length);
  }
}

/** pkcs11js passes attributes through memory that it frees unwiped. The next value of that size is laid over it. */
function overlay(token: Cryptoki, length: number): void {
  search(token, pkcs11.CKO_SECRET_KEY, '\0'.repeat(length));
}
