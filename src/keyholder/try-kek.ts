import { randomFillSync, timingSafeEqual } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { allocateSecret } from '../secret-buffer.ts';
import { type Cryptoki, meaning, returnValue } from './cryptoki.ts';
import type { Kek, Profile } from './profiles/profile.ts';

/**
 * Proves that a profile works with a KEK on this very token: a DEK comes back, but not under another AAD, nor when a
 * bit of its wrapped form was changed, and no two wraps are alike. Throws hsm_refused, and what the calls throw.
 */
export function tryKek(token: Cryptoki, profile: Profile, kek: Kek): void {
  const dek = randomFillSync(allocateSecret(32));
  const right = Buffer.from('right');
  try {
    const wrapped = profile.wrap(token, kek, dek, right);
    const back = profile.unwrap(token, kek, wrapped, right);
    const same = back.length === dek.length && timingSafeEqual(back, dek);
    back.fill(0);
    if (!same) throw failed(`unwrapping with ${kek.label}`);
    if (opens(() => profile.unwrap(token, kek, wrapped, Buffer.from('wrong')))) {
      throw failed(`the binding of ${kek.label} to its context`);
    }
    const changed = Buffer.from(wrapped);
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
    if (opens(() => profile.unwrap(token, kek, changed, right)))
      throw failed(`what ${kek.label} authenticates`);
    if (profile.randomised && profile.wrap(token, kek, dek, right).equals(wrapped)) {
      throw failed(`the IVs of ${kek.label}`);
    }
  } finally {
    dek.fill(0);
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

function failed(what: string): SallyportError {
  return new SallyportError('hsm_refused', `The token failed its self-test at ${what}: do not use it.`);
}
