import type { Ledger } from '../audit/ledger.ts';
import type { Changes } from '../changes.ts';
import type { StateHead } from '../integrity/anchor.ts';
import type { IntegrityGuard } from '../integrity/guard.ts';
import type { Inspection } from '../integrity/inspect.ts';
import { describeFailures } from '../integrity/verify.ts';
import type { Policy } from '../policy/policy.ts';

/** `sallyport integrity`: verifies the store now, and takes a state that was put back on purpose for the right one. */
export class IntegrityDesk {
  readonly #policy: Policy;
  readonly #changes: Changes;
  readonly #ledger: Ledger;
  readonly #guard: IntegrityGuard;

  constructor(policy: Policy, changes: Changes, ledger: Ledger, guard: IntegrityGuard) {
    this.#policy = policy;
    this.#changes = changes;
    this.#ledger = ledger;
    this.#guard = guard;
  }

  /** Throws hsm_unavailable, store_unavailable. */
  check(): Promise<Inspection> {
    return this.#changes.exclusive(async () => {
      await this.#guard.recheck(true);
      return this.#policy.inspect();
    });
  }

  /** See Policy.accept. In the journal before it is in force: as an alarm, since it is what an attacker would want. */
  accept(digest: string): Promise<StateHead> {
    return this.#changes.exclusive(async () => {
      await this.#guard.recheck(true);
      const was = describeFailures(this.#policy.failures);
      await this.#ledger.record('alarm', 'integrity.accept', digest, { was, state: this.#policy.counter });
      const head = await this.#policy.accept(digest);
      await this.#guard.announce();
      return head;
    });
  }
}
