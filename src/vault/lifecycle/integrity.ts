import type { Ledger } from '../audit/ledger.ts';
import type { Changes } from '../changes.ts';
import type { StateHead } from '../integrity/anchor.ts';
import type { IntegrityGuard } from '../integrity/guard.ts';
import type { Inspection } from '../integrity/inspect.ts';
import { describeFailures } from '../integrity/verify.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Policy } from '../policy/policy.ts';
import { describeMissing, knownMissing, type MissingKek } from './missing-keks.ts';

/** Whether what is sealed in the store can be opened with this token. */
export interface Openable {
  /** KEKs that rows need and the token has no more. */
  readonly missingKeks: readonly MissingKek[];
  /** The same in words, with what to do; empty where none is missing. */
  readonly missing: string;
}

/** `sallyport integrity`: verifies the store now, and takes a state that was put back on purpose for the right one. */
export class IntegrityDesk {
  readonly #policy: Policy;
  readonly #changes: Changes;
  readonly #ledger: Ledger;
  readonly #guard: IntegrityGuard;
  readonly #keyholder: KeyholderClient;

  constructor(
    policy: Policy,
    changes: Changes,
    ledger: Ledger,
    guard: IntegrityGuard,
    keyholder: KeyholderClient,
  ) {
    this.#policy = policy;
    this.#changes = changes;
    this.#ledger = ledger;
    this.#guard = guard;
    this.#keyholder = keyholder;
  }

  /** Throws hsm_unavailable, store_unavailable. */
  check(): Promise<Inspection & Openable> {
    return this.#changes.exclusive(async () => {
      await this.#guard.recheck(true);
      return { ...(await this.#policy.inspect()), ...(await this.#openable()) };
    });
  }

  /** See Policy.accept. In the journal before it is in force: as an alarm, since it is what an attacker would want. */
  accept(digest: string): Promise<StateHead & Openable> {
    return this.#changes.exclusive(async () => {
      await this.#guard.recheck(true);
      const was = describeFailures(this.#policy.failures);
      await this.#ledger.record('alarm', 'integrity.accept', digest, { was, state: this.#policy.counter });
      const head = await this.#policy.accept(digest);
      await this.#guard.announce();
      return { ...head, ...(await this.#openable()) };
    });
  }

  /** What was restored may be older than a KEK's retirement. */
  async #openable(): Promise<Openable> {
    await this.#keyholder.refresh();
    const missing = knownMissing(this.#policy.state, this.#keyholder);
    return { missingKeks: missing, missing: describeMissing(missing) };
  }
}
