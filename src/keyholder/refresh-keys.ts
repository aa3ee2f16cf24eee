import { findKeks, type KekVersion } from './keks.ts';
import { LABEL } from './key-objects.ts';
import { type Keys, newestOf, publicPoint } from './keys.ts';
import type { Token } from './token.ts';
import { tryKek } from './try-kek.ts';

/**
 * Finds the KEKs again and tries out those that were not there before. All else stays as it was proven when the token was
 * opened, public halves above all: a token's public objects are not protected by its PIN. Where another token stands in
 * its place by now, that fails as such a token should have, and it is opened anew. Throws hsm_key_missing, hsm_refused, and
 * what the calls throw.
 */
export function refreshKeys(token: Token): Keys {
  if (!publicPoint(token, LABEL.audit).equals(token.keys.auditPublic))
    throw new Error('CKR_TOKEN_NOT_PRESENT');
  const { keks: before, sealer } = token.keys;
  const keep = (kek: KekVersion): KekVersion => {
    const known = before.get(kek.label);
    if (known?.key.equals(kek.key)) return known;
    tryKek(token, kek.profile, kek);
    return kek;
  };
  const keks = new Map([...findKeks(token, sealer)].map(([label, kek]) => [label, keep(kek)]));
  token.keys = { ...token.keys, keks, newest: newestOf(keks) };
  return token.keys;
}
