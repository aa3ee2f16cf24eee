import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import type { Cryptoki } from './cryptoki.ts';
import { generateEcPair } from './generate.ts';
import { type Abilities, makeAgreementKey, makeHmacKey, type Sealer } from './held-key.ts';
import { bindLabel, kekId, kekLabel } from './keks.ts';
import { LABEL } from './key-objects.ts';
import { ID } from './keys.ts';
import type { Profile } from './profiles/profile.ts';
import { makeSealer, sealerId } from './sealer.ts';
import { type OpenToken, proveKeys, type Token } from './token.ts';

/**
 * Makes KEK, MAC, audit and intake keys in a token that has none of them, and proves them. What it cannot hold as a key
 * (HMAC keys, pairs that agree) is sealed to a pair made for that. Where that fails it removes
 * what it made. Throws hsm_refused, hsm_unavailable where something stays behind, and what the calls throw.
 */
export function makeKeys(open: OpenToken, profile: Profile, { hmac, ecdh }: Abilities): Token {
  return orUnmake(open, (made) => {
    const sealer =
      hmac && ecdh
        ? undefined
        : makeSealer(open, (way) => ({ label: LABEL.seal, id: sealerId(way), stored: true }), made);
    const hmacSealer = hmac ? undefined : sealer;
    makeKek(open, profile, 1, hmacSealer, made);
    made.push(...makeHmacKey(open, { label: LABEL.mac, id: ID.mac, stored: true }, hmacSealer));
    const audit = generateEcPair(open, { label: LABEL.audit, id: ID.audit, stored: true }, pkcs11.CKA_SIGN);
    made.push(audit.privateKey, audit.publicKey);
    made.push(
      ...makeAgreementKey(
        open,
        { label: LABEL.intake, id: ID.intake, stored: true },
        ecdh ? undefined : sealer,
      ),
    );
    return proveKeys(open);
  });
}

/**
 * Makes KEK number `number`, noting in `made` what it has made. Its key to bind with comes first: killed in between, no
 * KEK is there that lacks one. Throws what the calls throw.
 */
export function makeKek(
  token: Cryptoki,
  profile: Profile,
  number: number,
  sealer: Sealer | undefined,
  made: Handle[],
): void {
  const id = kekId(profile, number);
  if (profile.binds) made.push(...makeHmacKey(token, { label: bindLabel(number), id, stored: true }, sealer));
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
