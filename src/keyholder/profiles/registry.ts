import { SallyportError } from '../../errors.ts';
import { aesGcm } from './aes-gcm.ts';
import type { Profile } from './profile.ts';

/** In order of preference. */
const PROFILES: readonly Profile[] = [aesGcm];

/** The best profile for a token that lists `mechanisms`. Throws hsm_mechanism_missing where none fits. */
export function chooseProfile(mechanisms: ReadonlySet<number>): Profile {
  const chosen = PROFILES.find((profile) =>
    profile.mechanisms.every((mechanism) => mechanisms.has(mechanism)),
  );
  if (chosen) return chosen;
  const names = PROFILES.map((profile) => profile.name).join(', ');
  throw new SallyportError(
    'hsm_mechanism_missing',
    `The token wraps keys in no way that Sallyport knows (${names}): use a token with one of them.`,
  );
}

/** The profile that made `wrapped`. Throws hsm_refused for an unknown format. */
export function profileOf(wrapped: Buffer): Profile {
  const made = PROFILES.find((profile) => profile.format === wrapped[0]);
  if (made) return made;
  throw new SallyportError(
    'hsm_refused',
    'The wrapped key has an unknown format: it was changed, or is of a newer version.',
  );
}
