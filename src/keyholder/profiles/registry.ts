import { SallyportError } from '../../errors.ts';
import type { Mechanisms } from '../mechanisms.ts';
import { aesCcm } from './aes-ccm.ts';
import { aesGcm } from './aes-gcm.ts';
import { aesGcmHsmIv } from './aes-gcm-hsm-iv.ts';
import { aesKwp } from './aes-kwp.ts';
import { cloudHsmGcm } from './cloudhsm-gcm.ts';
import { ecdhHpke } from './ecdh-hpke.ts';
import type { Profile } from './profile.ts';
import { bound } from './public-key.ts';
import { rsaOaepSha1, rsaOaepSha256 } from './rsa-oaep.ts';
import { yubiHsmCcm } from './yubihsm-ccm.ts';

/**
 * In order of preference: authenticated encryption that takes the AAD, in one call; then symmetric with an HMAC; then
 * public-key, which is slow and leaves part of the work outside the HSM.
 */
export const PROFILES: readonly Profile[] = [
  aesGcm,
  cloudHsmGcm,
  aesGcmHsmIv,
  aesCcm,
  yubiHsmCcm,
  aesKwp,
  bound(rsaOaepSha256),
  bound(ecdhHpke),
  bound(rsaOaepSha1),
];

/** The profile called `name`. Throws invalid_argument. */
export function profileNamed(name: string): Profile {
  const found = PROFILES.find((profile) => profile.name === name);
  if (found) return found;
  const names = PROFILES.map((profile) => profile.name).join(', ');
  throw new SallyportError('invalid_argument', `There is no profile of that name: choose one of ${names}.`);
}

/** The profile whose format byte is `format`; undefined where there is none. */
export function profileOf(format: number | undefined): Profile | undefined {
  return PROFILES.find((profile) => profile.format === format);
}

/** The groups of mechanisms of which the token lists none; with none of these it may be worth a try. */
export function missing(profile: Profile, mechanisms: Mechanisms): (readonly number[])[] {
  return profile.mechanisms.filter((group) => !group.some((mechanism) => mechanisms.has(mechanism)));
}
