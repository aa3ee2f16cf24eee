import { findKeys, type KekVersion, type Keys } from './keys.ts';
import type { Token } from './token.ts';
import { tryKek } from './try-kek.ts';

/**
 * Finds the keys again and tries out the KEKs that were not there before. Those that were keep the public half that was
 * proven: a token's public objects are not protected by its PIN. Throws as proveKeys does.
 */
export function refreshKeys(token: Token): Keys {
  const found = findKeys(token);
  const keep = (kek: KekVersion): KekVersion => {
    const before = token.keys.keks.get(kek.label);
    if (before?.key.equals(kek.key)) return before;
    tryKek(token, kek.profile, kek);
    return kek;
  };
  const keks = new Map([...found.keks].map(([label, kek]) => [label, keep(kek)]));
  token.keys = { ...found, keks, newest: keks.get(found.newest.label) ?? found.newest };
  return token.keys;
}
