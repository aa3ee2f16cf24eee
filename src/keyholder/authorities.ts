import { createHash } from 'node:crypto';
import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { readAttribute } from './cryptoki.ts';
import { generateEcPair } from './generate.ts';
import { whole } from './hmac.ts';
import { AUTHORITY_LABEL, confined } from './key-objects.ts';
import { destroyUnder, keysLike, keyUnder, newId } from './labelled-keys.ts';
import { pointOf } from './point.ts';
import type { Token } from './token.ts';

const SIGNATURE_BYTES = 64;

/**
 * Makes the key of an authority in the token: P-256, signs and nothing else, never leaves it. Answers its uncompressed
 * point. What an earlier attempt left under that label goes first: nobody has had its point. Throws channel_malformed for
 * any other label, and what the calls throw.
 */
export function makeAuthorityKey(token: Token, label: string): Buffer {
  destroyAuthorityKey(token, label);
  const pair = generateEcPair(token, { label, id: newId(), stored: true }, pkcs11.CKA_SIGN);
  confined(token, pair.privateKey, label);
  return pointOf(readAttribute(token, pair.publicKey, pkcs11.CKA_EC_POINT));
}

/** ECDSA P-256 over SHA-256 of `message` with the authority's key: r‖s, 64 bytes. Throws hsm_key_missing, and what the calls throw. */
export function signAsAuthority(token: Token, label: string, message: Buffer): Buffer {
  const { lib, session } = token;
  lib.C_SignInit(session, { mechanism: pkcs11.CKM_ECDSA }, keyOf(token, ours(label)));
  const digest = createHash('sha256').update(message).digest();
  return whole(lib.C_Sign(session, digest, Buffer.allocUnsafeSlow(SIGNATURE_BYTES)), SIGNATURE_BYTES);
}

function keyOf(token: Token, label: string): Handle {
  const key = keyUnder(token, label);
  if (key) return key;
  throw gone(label);
}

/** Destroys the authority's key; where it is gone already nothing is done. Throws what the calls throw. */
export function destroyAuthorityKey(token: Token, label: string): void {
  destroyUnder(token, ours(label));
}

/** The authorities' private keys in the token, by label. Throws what the calls throw. */
export function authorityKeys(token: Token): [label: string, key: Handle][] {
  return keysLike(token, AUTHORITY_LABEL);
}

/** The vault names keys here, and must not reach the other ones by that. */
function ours(label: string): string {
  if (AUTHORITY_LABEL.test(label)) return label;
  throw new SallyportError(
    'channel_malformed',
    'The keyholder was asked for an authority by a name that none has.',
  );
}

function gone(label: string): SallyportError {
  const replace = label.startsWith('agt_')
    ? 'agent rotate-ca` and `agent retire-ca'
    : 'authority rotate` and `authority retire';
  const message = `The token holds no key ${label} of an authority: use the token that it was made in, or replace it with \`sallyport ${replace}\`.`;
  return new SallyportError('hsm_key_missing', message);
}
