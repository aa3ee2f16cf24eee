import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { generatePair, generateSecretKey } from './generate.ts';
import { FIRST_KEK, LABEL } from './keys.ts';
import { type OpenToken, proveKeys, type Token } from './token.ts';

/**
 * Makes KEK, MAC, audit and intake keys in a token that has none of them, and proves them. Where that fails it removes
 * what it made. Throws hsm_refused, hsm_unavailable where something stays behind, and what the calls throw.
 */
export function makeKeys(open: OpenToken): Token {
  const made: Handle[] = [];
  try {
    made.push(open.profile.generate(open, FIRST_KEK));
    made.push(
      generateSecretKey(open, pkcs11.CKM_GENERIC_SECRET_KEY_GEN, [
        { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
        { type: pkcs11.CKA_LABEL, value: LABEL.mac },
        { type: pkcs11.CKA_SIGN, value: true },
        { type: pkcs11.CKA_VERIFY, value: true },
        { type: pkcs11.CKA_ENCRYPT, value: false },
        { type: pkcs11.CKA_DECRYPT, value: false },
      ]),
    );
    const audit = generatePair(open, LABEL.audit, pkcs11.CKA_SIGN);
    made.push(audit.privateKey, audit.publicKey);
    const intake = generatePair(open, LABEL.intake, pkcs11.CKA_DERIVE);
    made.push(intake.privateKey, intake.publicKey);
    return proveKeys(open);
  } catch (error) {
    unmake(open, made, error);
    throw error;
  }
}

function unmake({ lib, session }: OpenToken, made: readonly Handle[], why: unknown): void {
  try {
    for (const object of made) lib.C_DestroyObject(session, object);
  } catch {
    const message =
      "The HSM failed while keys were made, and kept some: remove those named sallyport-… with the vendor's tool.";
    throw new SallyportError('hsm_unavailable', message, { cause: why });
  }
}
