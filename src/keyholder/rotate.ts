import pkcs11 from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { find } from './find.ts';
import { bindLabel } from './keks.ts';
import { LABEL, versionOf } from './key-objects.ts';
import { makeKek, orUnmake } from './make-keys.ts';
import { refreshKeys } from './refresh-keys.ts';
import type { Token } from './token.ts';

/**
 * Makes the KEK that comes after `from`, in the same profile, and has new DEKs wrapped with it once it is proven. Where
 * the token has a newer one than `from` already, nothing is made: asked again after a crash, it goes on from there.
 * Throws hsm_key_missing where `from` was never made here, hsm_refused, and what the calls throw; the token then holds
 * what it held before, unless it is lost.
 */
export function rotate(token: Token, from: string): { kek: string; made: boolean } {
  const { newest } = refreshKeys(token);
  const number = versionOf(from, LABEL.kek);
  if (number === undefined || number > newest.number) throw unknown(from);
  if (number < newest.number) return { kek: newest.label, made: false };
  const next = newest.number + 1;
  orUnmake(token, (made) => {
    destroyBind(token, next); // what a killed rotation left
    makeKek(token, newest.profile, next, token.keys.mac.sealed?.sealer, made);
    refreshKeys(token);
  });
  return { kek: token.keys.newest.label, made: true };
}

/**
 * Destroys the KEK `label` with all that belongs to it: what is still wrapped with it can never be opened again. One that
 * was destroyed already is what was asked for: asked again after its answer was lost, only what a kill left of it goes.
 * Throws invalid_argument for the newest, hsm_key_missing where none of that name was ever made here, hsm_unavailable where
 * the token still holds it afterwards, and what the calls throw.
 */
export function retire(token: Token, label: string): void {
  const { newest } = refreshKeys(token);
  const number = versionOf(label, LABEL.kek);
  if (number === undefined || number > newest.number) throw unknown(label); // each is made after the one before it
  if (number === newest.number) {
    const message = `${label} is the newest KEK, which credentials are wrapped with: rotate first, then retire it.`;
    throw new SallyportError('invalid_argument', message);
  }
  destroyKek(token, label, number);
  if (refreshKeys(token).keks.has(label)) {
    const message = `The HSM still holds ${label} after destroying it: destroy it with the vendor's tool.`;
    throw new SallyportError('hsm_unavailable', message);
  }
}

/** The KEK goes first: killed in between, it is gone, and a key to bind with that has no KEK is passed over. */
function destroyKek(token: Token, label: string, number: number): void {
  for (const kind of [pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY])
    destroy(token, kind, label);
  destroyBind(token, number);
}

function destroyBind(token: Token, number: number): void {
  for (const kind of [pkcs11.CKO_SECRET_KEY, pkcs11.CKO_DATA]) destroy(token, kind, bindLabel(number));
}

function destroy(token: Token, kind: number, label: string): void {
  for (const object of find(token, kind, label)) token.lib.C_DestroyObject(token.session, object);
}

function unknown(label: string): SallyportError {
  return new SallyportError(
    'hsm_key_missing',
    `The token holds no KEK ${label}: \`sallyport hsm status\` lists them.`,
  );
}
