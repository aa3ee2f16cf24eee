import { randomFillSync } from 'node:crypto';
import type { TokenReport } from '../channel/messages/hsm-report.ts';
import { allocateSecret } from '../secret-buffer.ts';
import type { Cryptoki } from './cryptoki.ts';
import { listedAbilities } from './held-key.ts';
import { BASICS, type Mechanisms, mechanismName } from './mechanisms.ts';
import { medianMicroseconds } from './median.ts';
import type { Kek, Profile } from './profiles/profile.ts';
import { missing, PROFILES } from './profiles/registry.ts';
import { sealingWays } from './sealer.ts';
import { isSoftware, type Maker } from './token.ts';
import { judge } from './trial.ts';
import { sessionKeyRefusal, tryNeeds } from './try-needs.ts';

/** A token as anybody may see it. */
export interface Subject {
  readonly label: string;
  readonly serial: string;
  readonly maker: Maker;
  readonly mechanisms: Mechanisms;
}

type Need = TokenReport['needs'][number];
type Rated = TokenReport['profiles'][number];

const AAD = Buffer.alloc(64, 0x5a);

/** What the token's list promises; nothing is tried, and `untried` says why. */
export function onPaper(subject: Subject, untried: string): TokenReport {
  const { hmac, ecdh } = listedAbilities(subject.mechanisms);
  const on = (what: string, listed: boolean, otherwise: 'missing' | 'sealed'): Need => {
    const verdict = listed ? 'listed' : otherwise;
    return { what, verdict, reason: listed ? '' : 'the token does not list it', p50: null };
  };
  const otherwise = sealingWays(subject.mechanisms).length > 0 ? 'sealed' : 'missing';
  const needs = [
    ...BASICS.map(([what, mechanism]) => on(what, subject.mechanisms.has(mechanism), 'missing')),
    on('HMAC-SHA-256', hmac, otherwise),
    on('ECDH', ecdh, otherwise),
  ];
  const profiles = PROFILES.map((profile) => unrated(profile, subject.mechanisms));
  return report(subject, untried, needs, profiles);
}

/** What the token does, tried out with objects that end with the session. Throws what is no answer of the token. */
export function onToken(token: Cryptoki, subject: Subject): TokenReport {
  const keyless = sessionKeyRefusal(token);
  if (keyless !== undefined) {
    const untried = `the token makes no keys that end with their session (${keyless}); \`init\` tries it with stored ones`;
    return onPaper(subject, untried);
  }
  const needs = tryNeeds(token);
  const hmac = needs.some(({ what, verdict }) => what === 'HMAC-SHA-256' && verdict === 'works');
  const profiles = PROFILES.map((profile) => rate(token, profile, hmac));
  return report(subject, null, needs, profiles);
}

function report(subject: Subject, untried: string | null, needs: Need[], profiles: Rated[]): TokenReport {
  const { label, serial, maker, mechanisms } = subject;
  const good = ({ verdict }: { verdict: string }): boolean =>
    ['works', 'listed', 'sealed', 'file'].includes(verdict);
  const lacking = needs.filter((each) => !good(each)).map(({ what }) => what);
  const sealed = needs.filter(({ verdict }) => verdict === 'sealed').map(({ what }) => what);
  const notes = [
    ...(sealed.length > 0 ? [sealedNote(sealed)] : []),
    ...(needs.some(({ verdict }) => verdict === 'file') ? [FILE_NOTE] : []),
  ];
  const best = profiles.find(good);
  const chosen = lacking.length === 0 ? (best?.name ?? null) : null;
  const why =
    lacking.length > 0
      ? `It cannot be used: it lacks ${lacking.join(', ')}.`
      : best === undefined
        ? 'It cannot be used: it wraps keys in no way that Sallyport knows.'
        : untried === null
          ? `${best.name} is the first in order of preference that works on this token.`
          : `${best.name} is the first in order of preference whose mechanisms it lists; \`init\` takes the first that works.`;
  return {
    label,
    serial,
    ...maker,
    software: isSoftware(maker),
    mechanisms: [...mechanisms.keys()].map(mechanismName).sort(),
    untried,
    needs,
    profiles,
    chosen,
    why: chosen === null ? why : [why, ...notes].join(' '),
  };
}

const FILE_NOTE =
  'It keeps no private data objects: the newest state of the database is anchored in a file beside it, under the MAC of the token.';

function sealedNote(keys: readonly string[]): string {
  return `It cannot hold keys for ${keys.join(' and ')}: those are encrypted to a pair of the token, and used in the keyholder's memory.`;
}

function unrated(profile: Profile, mechanisms: Mechanisms): Rated {
  const { name, summary } = profile;
  const lacks = missing(profile, mechanisms);
  const names = lacks.map((group) => group.map(mechanismName).join(' or ')).join(', ');
  const judgement =
    lacks.length > 0
      ? { verdict: 'missing' as const, reason: `the token does not list ${names}` }
      : { verdict: 'listed' as const, reason: '' };
  return { name, summary, ...judgement, wrapP50: null, unwrapP50: null };
}

function rate(token: Cryptoki, profile: Profile, hmac: boolean): Rated {
  const listed = unrated(profile, token.mechanisms);
  if (listed.verdict === 'missing') return listed;
  const { verdict, result } = judge(token, profile, { stored: false, hmac }, (kek) =>
    timed(token, profile, kek),
  );
  return result
    ? { ...listed, verdict: 'works', ...result }
    : { ...listed, verdict: 'fails', reason: verdict };
}

function timed(token: Cryptoki, profile: Profile, kek: Kek): { wrapP50: number; unwrapP50: number } {
  const dek = randomFillSync(allocateSecret(32));
  const wrapped = profile.wrap(token, kek, dek, AAD);
  const wrapP50 = medianMicroseconds(() => profile.wrap(token, kek, dek, AAD));
  const unwrapP50 = medianMicroseconds(() => profile.unwrap(token, kek, wrapped, AAD).fill(0));
  dek.fill(0);
  return { wrapP50, unwrapP50 };
}
