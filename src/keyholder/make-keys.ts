import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import type { Cryptoki } from './cryptoki.ts';
import { generateEcPair, generateHmacKey } from './generate.ts';
import { bindLabel, ID, kekId, kekLabel, LABEL } from './keys.ts';
import type { Profile } from './profiles/profile.ts';
import { type OpenToken, proveKeys, type Token } from './token.ts';

/**
 * Makes KEK, MAC, audit and intake keys in a token that has none of them, and proves them. Where that fails it removes
 * what it made. Throws hsm_refused, hsm_unavailable where something stays behind, and what the calls throw.
 */
export function makeKeys(open: OpenToken, profile: Profile): Token {
  return orUnmake(open, (made) => {
    makeKek(open, profile, 1, made);
    made.push(generateHmacKey(open, { label: LABEL.mac, id: ID.mac, stored: true }));
    const audit = generateEcPair(open, { label: LABEL.audit, id: ID.audit, stored: true }, pkcs11.CKA_SIGN);
    made.push(audit.privateKey, audit.publicKey);
    const intake = generateEcPair(
      open,
      { label: LABEL.intake, id: ID.intake, stored: true },
      pkcs11.CKA_DERIVE,
    );
    made.push(intake.privateKey, intake.publicKey);
    return proveKeys(open);
  });
}

/**
 * Makes KEK number `number`, noting in `made` what it has made. Its key to bind with comes first: killed in between, no
 * KEK is there that lacks one. Throws what the calls throw.
 */
export function makeKek(token: Cryptoki, profile: Profile, number: number, made: Handle[]): void {
  const id = kekId(profile, number);
  if (profile.binds) made.push(generateHmacKey(token, { label: bindLabel(number), id, stored: true }));
  made.push(...profile.generate(token, { label: kekLabel(number), id, stored: true }));
}

/** Runs `make`, and destroys all that it noted as made where it fails. Throws as makeKeys does. */
export function orUnmake<T>({ lib, session }: Cryptoki, make: (made: Handle[]) => T): T {
  const made: Handle[] = [];
  try {
    return make(made);
  } catch (error) {
    try {
      for (const object of made) lib.C_DestroyObject(session, object);
    } catch {
      const message =
        "The HSM failed while keys were made, and kept some: remove those named sallyport-… with the vendor's tool.";
      throw new SallyportError('hsm_unavailable', message, { cause: error });
    }
    throw error;
  }
}
