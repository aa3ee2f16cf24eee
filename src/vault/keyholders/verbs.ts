import type { KeyholderRequest } from '../../channel/messages/keyholder.ts';

type Verb = KeyholderRequest['verb'];

/** Verbs that change the token, or read what another has just changed: all through the same keyholder. */
export const OF_ONE: ReadonlySet<Verb> = new Set([
  'anchor.read',
  'anchor.write',
  'rotate',
  'retire',
  'authority.make',
  'authority.destroy',
  'authority.list',
  'key.make',
  'key.public',
  'key.destroy',
  'key.list',
] as const);

/** Verbs that make keys, which takes hardware a while. */
export const MAKING: ReadonlySet<Verb> = new Set(['rotate', 'authority.make', 'key.make'] as const);

/** Hardware takes its time to make a key. */
export const MAKING_DEADLINE_MS = 60_000;
