import type { KeyholderClient } from './keyholder.ts';
import type { Policy } from './policy/policy.ts';
import type { Fleet } from './workers/fleet.ts';

/** Anybody may ask, and the HSM has better things to do: an answer holds this long. */
const HOLDS_MS = 1_000;

export type Unready = 'hsm_unavailable' | 'policy_unread' | 'integrity_failed' | 'no_worker';

interface ReadinessParts {
  readonly keyholder: KeyholderClient;
  readonly policy: Policy;
  readonly fleet: Fleet;
}

/** Whether a request with a credential that is not in use yet would be served. */
export class Readiness {
  readonly #parts: ReadinessParts;
  #answer: Promise<Unready[]> | undefined;
  #until = 0;

  constructor(parts: ReadinessParts) {
    this.#parts = parts;
  }

  /** Why it would not; empty where it would. Never throws. */
  reasons(): Promise<Unready[]> {
    if (this.#answer && performance.now() < this.#until) return this.#answer;
    this.#until = performance.now() + HOLDS_MS;
    this.#answer = this.#look();
    return this.#answer;
  }

  async #look(): Promise<Unready[]> {
    const { keyholder, policy, fleet } = this.#parts;
    const { state } = await keyholder.status();
    const reasons: [Unready, boolean][] = [
      ['hsm_unavailable', state !== 'ok'],
      ['policy_unread', !policy.loaded],
      ['integrity_failed', policy.integrity !== null],
      ['no_worker', !fleet.status().some(({ ready }) => ready)],
    ];
    return reasons.flatMap(([reason, holds]) => (holds ? [reason] : []));
  }
}
