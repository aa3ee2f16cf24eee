import { createECDH, randomFillSync, timingSafeEqual, verify } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { meaning, returnValue } from './cryptoki.ts';
import { agree, mac, sign } from './operations.ts';
import { publicKeyOf } from './point.ts';
import type { Token } from './token.ts';

/**
 * Proves that each key does what it is for, and that its public half is the one the token shows (a token's public
 * objects are not protected by its PIN): a DEK comes back, and not under another AAD; a signature verifies; both sides
 * of an agreement agree. Throws hsm_refused naming what failed, and what the calls throw.
 */
export function selfTest(token: Token): void {
  const dek = randomFillSync(Buffer.allocUnsafeSlow(32));
  const message = Buffer.from('sallyport self-test');
  try {
    tryWrap(token, dek);
    const [first, second] = mac(token, [message, message]);
    if (!first || !second || !timingSafeEqual(first, second)) throw failed('HMAC-SHA-256 with the MAC key');
    const key = { key: publicKeyOf(token.keys.auditPublic), dsaEncoding: 'ieee-p1363' } as const;
    if (!verify('sha256', message, key, sign(token, message))) throw failed('signing with the audit key');
    tryAgree(token);
  } finally {
    dek.fill(0);
  }
}

function tryWrap(token: Token, dek: Buffer): void {
  const { profile, keys } = token;
  for (const [label, kek] of keys.keks) {
    const wrapped = profile.wrap(token, kek, dek, Buffer.from('right'));
    const back = profile.unwrap(token, kek, wrapped, Buffer.from('right'));
    const same = back.length === dek.length && timingSafeEqual(back, dek);
    back.fill(0);
    if (!same) throw failed(`unwrapping with ${label}`);
    if (opens(() => profile.unwrap(token, kek, wrapped, Buffer.from('wrong')))) {
      throw failed(`the binding of ${label} to its context`);
    }
  }
}

function opens(unwrap: () => Buffer): boolean {
  try {
    unwrap().fill(0);
    return true;
  } catch (error) {
    const name = returnValue(error);
    if (name === undefined && !(error instanceof SallyportError)) throw error;
    if (name !== undefined && meaning(name) === 'gone') throw error;
    return false;
  }
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
