import pkcs11, { type Handle } from 'pkcs11js';
import type { Cryptoki } from './cryptoki.ts';
import { find, readOptional } from './find.ts';
import type { Sealer } from './held-key.ts';
import { confined, foreign, heldKey, LABEL, labelOf, one, twice, versionOf } from './key-objects.ts';
import { aesGcm } from './profiles/aes-gcm.ts';
import type { Kek, Profile } from './profiles/profile.ts';
import { profileOf } from './profiles/registry.ts';

/** A KEK of ours: number n is `sallyport-kek-n`. */
export interface KekVersion extends Kek {
  readonly number: number;
  readonly profile: Profile;
}

/**
 * Every KEK version by its label, oldest first. A key to bind with that has no KEK is what a killed rotation left: passed
 * over. Throws hsm_key_missing, hsm_refused, and what the calls throw.
 */
export function findKeks(token: Cryptoki, sealer: Sealer | undefined): Map<string, KekVersion> {
  const found: KekVersion[] = [];
  for (const kind of [pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY]) {
    for (const key of find(token, kind)) {
      const label = labelOf(token, key);
      const number = versionOf(label, LABEL.kek);
      if (number === undefined) continue;
      const profile = recordedProfile(token, key, label);
      if ((profile.kek === 'secret') !== (kind === pkcs11.CKO_SECRET_KEY)) throw foreign(label);
      found.push({
        ...readKek(token, profile, { label, bind: bindLabel(number) }, key, sealer),
        number,
        profile,
      });
    }
  }
  found.sort((a, b) => a.number - b.number);
  const keks = new Map<string, KekVersion>();
  for (const kek of found) {
    if (keks.has(kek.label)) throw twice(kek.label);
    keks.set(kek.label, kek);
  }
  return keks;
}

/** A KEK with all that its profile needs beside it. Throws hsm_key_missing, hsm_refused, and what the calls throw. */
export function readKek(
  token: Cryptoki,
  profile: Profile,
  labels: { readonly label: string; readonly bind: string },
  key: Handle,
  sealer: Sealer | undefined,
): Kek {
  const { label, bind } = labels;
  return {
    label,
    key: confined(token, key, label),
    publicKey: profile.readPublicKey?.(token, one(token, pkcs11.CKO_PUBLIC_KEY, label)),
    bind: profile.binds ? heldKey(token, pkcs11.CKO_SECRET_KEY, bind, sealer) : undefined,
  };
}

/** Which profile made it stands in its CKA_ID. The first keys were made without one, for AES-GCM. */
function recordedProfile(token: Cryptoki, key: Handle, label: string): Profile {
  const id = readOptional(token, key, pkcs11.CKA_ID);
  if (id.length === 0) return aesGcm;
  const profile = id.length === 2 ? profileOf(id[0]) : undefined;
  if (!profile) throw foreign(label);
  return profile;
}

export function kekLabel(number: number): string {
  return `${LABEL.kek}${number}`;
}

export function bindLabel(number: number): string {
  return `${LABEL.bind}${number}`;
}

/** CKA_ID of a KEK and its key to bind with: its profile's format, and the low byte of its number. */
export function kekId(profile: Profile, number: number): Buffer {
  return Buffer.of(profile.format, number & 0xff);
}
