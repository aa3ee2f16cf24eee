import { createECDH, timingSafeEqual, verify } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { agree, mac, sign } from './operations.ts';
import { publicKeyOf } from './point.ts';
import { trySealer } from './sealer.ts';
import type { Token } from './token.ts';
import { tryKek } from './try-kek.ts';

/**
 * Proves that each key does what it is for, and that its public half is the one the token shows (a token's public
 * objects are not protected by its PIN): a DEK comes back, and not under another AAD; a signature verifies; both sides
 * of an agreement agree. Throws hsm_refused naming what failed, and what the calls throw.
 */
export function selfTest(token: Token): void {
  if (token.keys.sealer) trySealer(token, token.keys.sealer);
  for (const kek of token.keys.keks.values()) tryKek(token, kek.profile, kek);
  const message = Buffer.from('sallyport self-test');
  const [first, second] = mac(token, [message, message]);
  if (!first || !second || !timingSafeEqual(first, second)) throw failed('HMAC-SHA-256 with the MAC key');
  const key = { key: publicKeyOf(token.keys.auditPublic), dsaEncoding: 'ieee-p1363' } as const;
  if (!verify('sha256', message, key, sign(token, message))) throw failed('signing with the audit key');
  tryAgree(token);
}

function tryAgree(token: Token): void {
  const other = createECDH('prime256v1');
  const theirs = agree(token, other.generateKeys());
  const ours = other.computeSecret(token.keys.intakePublic);
  const same = timingSafeEqual(theirs, ours);
  theirs.fill(0);
  ours.fill(0);
  if (!same) throw failed('agreement with the intake key');
}

function failed(what: string): SallyportError {
  return new SallyportError('hsm_refused', `The token failed its self-test at ${what}: do not use it.`);
}
