import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { type Cryptoki, meaning, returnValue } from './cryptoki.ts';
import { find } from './find.ts';
import type { Naming } from './generate.ts';
import { type Abilities, makeHmacKey } from './held-key.ts';
import { readKek } from './keks.ts';
import { mechanismName } from './mechanisms.ts';
import type { Kek, Profile } from './profiles/profile.ts';
import { missing, PROFILES } from './profiles/registry.ts';
import { makeSealer, sealerId } from './sealer.ts';
import { tryKek } from './try-kek.ts';

const STORED = { kek: 'sallyport-trial', bind: 'sallyport-trial-bind', seal: 'sallyport-trial-seal' };
/** Named otherwise, so that what a killed trial has stored is not taken for them. */
const OF_SESSION = {
  kek: 'sallyport-session-trial',
  bind: 'sallyport-session-trial-bind',
  seal: 'sallyport-session-trial-seal',
};
const ID = Buffer.of(0xf0, 0xff);

/** How a profile is tried: with keys that are stored or of the session, the HMAC key among them or sealed. */
export type Ground = Pick<Abilities, 'hmac'> & { readonly stored: boolean };

/** How a profile did on a token. */
export interface Trial<T> {
  readonly profile: Profile;
  /** "ok", or why it cannot be used. */
  readonly verdict: string;
  /** What `more` gave, where it can be used. */
  readonly result: T | undefined;
  /** What the trial threw. */
  readonly error: unknown;
}

/**
 * Tries a profile on this very token with keys made for that alone, and destroys them.
 * `more` may then do what it likes with that KEK. Throws what the calls throw.
 */
export function onTrial<T>(
  token: Cryptoki,
  profile: Profile,
  { stored, hmac }: Ground,
  more: (kek: Kek) => T,
): T {
  const label = stored ? STORED : OF_SESSION;
  const made = stored ? leftOver(token) : [];
  const naming = (label: string): Naming => ({ label, id: ID, stored });
  try {
    for (let object = made.pop(); object; object = made.pop())
      token.lib.C_DestroyObject(token.session, object);
    const sealer =
      profile.binds && !hmac
        ? makeSealer(token, (way) => ({ ...naming(label.seal), id: sealerId(way) }), made)
        : undefined;
    if (profile.binds) made.push(...makeHmacKey(token, naming(label.bind), sealer));
    const [key, ...others] = profile.generate(token, naming(label.kek));
    if (key === undefined) throw new TypeError(`the profile ${profile.name} made no key`);
    made.push(key, ...others);
    const kek = readKek(token, profile, { label: label.kek, bind: label.bind }, key, sealer);
    tryKek(token, profile, kek);
    return more(kek);
  } finally {
    for (const object of made) token.lib.C_DestroyObject(token.session, object);
  }
}

/** Keys of a trial that was killed. */
function leftOver(token: Cryptoki): Handle[] {
  const kinds = [pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_DATA];
  return kinds.flatMap((kind) => Object.values(STORED).flatMap((label) => find(token, kind, label)));
}

/** Puts a profile on trial unless the token lists too little for it. Throws only what is no answer of the token. */
export function judge<T>(token: Cryptoki, profile: Profile, ground: Ground, more: (kek: Kek) => T): Trial<T> {
  const lacks = missing(profile, token.mechanisms);
  if (lacks.length > 0) {
    const names = lacks.map((group) => group.map(mechanismName).join(' or ')).join(', ');
    return { profile, verdict: `the token does not list ${names}`, result: undefined, error: undefined };
  }
  try {
    return { profile, verdict: 'ok', result: onTrial(token, profile, ground, more), error: undefined };
  } catch (error) {
    const name = returnValue(error);
    if (name === undefined && !(error instanceof SallyportError)) throw error;
    const verdict = error instanceof SallyportError ? error.message : `the token answered ${name}`;
    return { profile, verdict, result: undefined, error };
  }
}

/**
 * The first profile, in order of preference, that works on this token; or `wanted`, which then must. Where the token has
 * no session keys, keys are stored for the trial. Throws hsm_mechanism_missing with each profile's reason, and what a
 * device that is lost answers: a lesser profile is not taken for that.
 */
export function chooseProfile(token: Cryptoki, wanted: Profile | undefined, { hmac }: Abilities): Profile {
  const reasons: string[] = [];
  for (const profile of wanted ? [wanted] : PROFILES) {
    const listed = missing(profile, token.mechanisms).length === 0;
    let trial = judge(token, profile, { stored: false, hmac }, () => undefined);
    if (trial.verdict !== 'ok' && listed)
      trial = judge(token, profile, { stored: true, hmac }, () => undefined);
    if (trial.verdict === 'ok') return profile;
    if (meaning(returnValue(trial.error) ?? '') === 'gone') throw trial.error;
    reasons.push(`${profile.name}: ${trial.verdict.replace(/\.$/, '')}`);
  }
  const message = `The token wraps keys in no way that Sallyport knows (${reasons.join('; ')}): use another token.`;
  throw new SallyportError('hsm_mechanism_missing', message);
}
