import { randomFillSync, timingSafeEqual } from 'node:crypto';
import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { allocateSecret } from '../secret-buffer.ts';
import { type Cryptoki, returnValue } from './cryptoki.ts';
import { find, readOptional } from './find.ts';
import type { Naming } from './generate.ts';
import type { Sealer } from './held-key.ts';
import { confinedKey, foreign, LABEL, one } from './key-objects.ts';
import type { Mechanisms } from './mechanisms.ts';
import { ecdhHpke } from './profiles/ecdh-hpke.ts';
import type { PublicKeyWay } from './profiles/public-key.ts';
import { rsaOaepSha1, rsaOaepSha256 } from './profiles/rsa-oaep.ts';

/** In order of preference. */
const WAYS: readonly PublicKeyWay[] = [rsaOaepSha256, ecdhHpke, rsaOaepSha1];

/** The ways whose mechanisms the token lists. */
export function sealingWays(mechanisms: Mechanisms): PublicKeyWay[] {
  return WAYS.filter((way) => way.mechanisms.every((mechanism) => mechanisms.has(mechanism)));
}

/** CKA_ID of a sealing pair: which way it is used. */
export function sealerId({ format }: PublicKeyWay): Buffer {
  return Buffer.of(0xf1, format);
}

/** The token's sealing pair; undefined where it has none. Throws hsm_key_missing, hsm_refused, and what the calls throw. */
export function findSealer(token: Cryptoki): Sealer | undefined {
  if (find(token, pkcs11.CKO_PRIVATE_KEY, LABEL.seal).length === 0) return undefined;
  const key = confinedKey(token, pkcs11.CKO_PRIVATE_KEY, LABEL.seal);
  const [, format] = readOptional(token, key, pkcs11.CKA_ID);
  const way = WAYS.find((each) => each.format === format);
  if (!way) throw foreign(LABEL.seal);
  const publicKey = way.readPublicKey(token, one(token, pkcs11.CKO_PUBLIC_KEY, LABEL.seal));
  return { way, key, publicKey };
}

/**
 * Makes a sealing pair in the first way that works on this token, noting in `made` what it has made. Throws
 * hsm_mechanism_missing where none works, and what else the calls throw.
 */
export function makeSealer(token: Cryptoki, naming: (way: PublicKeyWay) => Naming, made: Handle[]): Sealer {
  const reasons: string[] = [];
  for (const way of sealingWays(token.mechanisms)) {
    const pair: Handle[] = [];
    try {
      const [key, publicObject] = way.generate(token, naming(way));
      pair.push(key, publicObject);
      const sealer = { way, key, publicKey: way.readPublicKey(token, publicObject) };
      trySealer(token, sealer);
      made.push(...pair);
      return sealer;
    } catch (error) {
      for (const object of pair) token.lib.C_DestroyObject(token.session, object);
      const name = returnValue(error);
      if (name === undefined && !(error instanceof SallyportError)) throw error;
      reasons.push(`${way.name}: ${error instanceof SallyportError ? error.message : name}`);
    }
  }
  const message = `The token has no HMAC or no ECDH, and nothing to keep those keys sealed with (${reasons.join('; ')}): use another token.`;
  throw new SallyportError('hsm_mechanism_missing', message);
}

/** Throws hsm_refused unless what was sealed comes back: the public half might be another's. */
export function trySealer(token: Cryptoki, { way, key, publicKey }: Sealer): void {
  const secret = randomFillSync(allocateSecret(32));
  const aad = Buffer.from('right');
  const back = way.open(token, key, publicKey, way.seal(publicKey, secret, aad), aad);
  const same = back.length === secret.length && timingSafeEqual(back, secret);
  back.fill(0);
  secret.fill(0);
  if (same) return;
  throw new SallyportError('hsm_refused', `The token failed its self-test at ${LABEL.seal}: do not use it.`);
}
