import type { KeyholderHealth, KeyholderInfo } from '../../channel/messages/keyholder.ts';
import type { Keyholder, KeyholderStatus } from './keyholder.ts';

/** How long all keyholders together are asked about their tokens. */
const LOOKING_MS = 1_000;

/** As /v1/status shows it. */
export interface HsmStatus {
  /** `ok`: a keyholder can use it. */
  readonly state: 'ok' | 'unavailable';
  readonly error?: string;
  readonly token?: string;
  readonly module?: string;
  readonly kek?: string;
  readonly profile?: string;
  readonly info?: KeyholderInfo;
  /** Of the first keyholder that can use it. */
  readonly health?: KeyholderHealth;
  /** Every one, with its own state, and how often its verbs were asked, failed, and how long they took. */
  readonly keyholders: readonly KeyholderStatus[];
}

/**
 * Asks every keyholder how it stands, and about its token as long as there is time; where it does not answer, what it said
 * of itself last stands, with the reason. `problem`: why none has ever opened the token. Never throws.
 */
export async function statusOf(
  all: readonly Keyholder[],
  problem: string | undefined,
  ask: (keyholder: Keyholder, mayLook: boolean) => Promise<KeyholderStatus>,
): Promise<HsmStatus> {
  const began = Date.now();
  const asked = [...all];
  const keyholders: KeyholderStatus[] = [];
  for (const keyholder of asked) keyholders.push(await ask(keyholder, Date.now() - began < LOOKING_MS));
  const at = Math.max(
    0,
    keyholders.findIndex(({ state }) => state === 'ok'),
  );
  const { state = 'unavailable', health, error: own } = keyholders[at] ?? {};
  const error = problem ?? own;
  const info = asked[at]?.info;
  return {
    state,
    ...(error !== undefined ? { error } : {}),
    ...(info ? { token: info.token, module: info.module, kek: info.kek, profile: info.profile, info } : {}),
    ...(health ? { health } : {}),
    keyholders,
  };
}
