import { randomBytes } from 'node:crypto';
import pkcs11, { type Handle } from 'pkcs11js';
import { find } from './find.ts';
import { confined, labelOf, twice } from './key-objects.ts';
import type { Token } from './token.ts';

/** Keys in the token that are named by what they are for, and come and go with it: pairs, and imported secrets. */
const KINDS = [pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_SECRET_KEY] as const;

/** Keys that were found and seen to be confined, until their session ends. */
const found = new WeakMap<Token, Map<string, Handle>>();

/** The private (or secret) key under `label`; undefined where there is none. Throws hsm_key_missing where it could leave the token, or there are two. */
export function keyUnder(
  token: Token,
  label: string,
  kind: number = pkcs11.CKO_PRIVATE_KEY,
): Handle | undefined {
  const known = found.get(token)?.get(label);
  if (known) return known;
  const [key, second] = find(token, kind, label);
  if (!key) return undefined;
  if (second) throw twice(label);
  const handles = found.get(token) ?? new Map<string, Handle>();
  found.set(token, handles.set(label, confined(token, key, label)));
  return key;
}

/** Destroys what is under `label`; where it is gone already nothing is done. Throws what the calls throw. */
export function destroyUnder(token: Token, label: string): void {
  found.get(token)?.delete(label);
  for (const kind of KINDS) {
    for (const object of find(token, kind, label)) token.lib.C_DestroyObject(token.session, object);
  }
}

/** The private and secret keys in the token whose label is of that form. Throws what the calls throw. */
export function keysLike(token: Token, form: RegExp): [label: string, key: Handle][] {
  const keys = [pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY].flatMap((kind) => find(token, kind));
  const all = keys.map((key): [string, Handle] => [labelOf(token, key), key]);
  return all.filter(([label]) => form.test(label));
}

/** CKA_ID, apart from those of the other keys (profiles count from 1, the rest begins with 0xf0). */
export function newId(): Buffer {
  const id = randomBytes(2);
  id[0] = 0x40 | ((id[0] ?? 0) & 0x3f);
  return id;
}
