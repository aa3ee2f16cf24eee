import { randomFillSync } from 'node:crypto';
import type { TokenReport } from '../channel/messages/hsm-report.ts';
import { allocateSecret } from '../secret-buffer.ts';
import type { Cryptoki } from './cryptoki.ts';
import { BASICS, type Mechanisms, mechanismName } from './mechanisms.ts';
import { medianMicroseconds } from './median.ts';
import type { Kek, Profile } from './profiles/profile.ts';
import { missing, PROFILES } from './profiles/registry.ts';
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
  const needs = BASICS.map(([what, mechanism]): Need => {
    const listed = subject.mechanisms.has(mechanism);
    const reason = listed ? '' : `the token does not list ${mechanismName(mechanism)}`;
    return { what, verdict: listed ? 'listed' : 'missing', reason, p50: null };
  });
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
  const profiles = PROFILES.map((profile) => rate(token, profile));
  return report(subject, null, tryNeeds(token), profiles);
}

function report(subject: Subject, untried: string | null, needs: Need[], profiles: Rated[]): TokenReport {
  const { label, serial, maker, mechanisms } = subject;
  const good = ({ verdict }: { verdict: string }): boolean => verdict === 'works' || verdict === 'listed';
  const lacking = needs.filter((each) => !good(each)).map(({ what }) => what);
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
    why,
  };
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

function rate(token: Cryptoki, profile: Profile): Rated {
  const listed = unrated(profile, token.mechanisms);
  if (listed.verdict === 'missing') return listed;
  const { verdict, result } = judge(token, profile, false, (kek) => timed(token, profile, kek));
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
