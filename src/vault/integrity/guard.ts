import type { Ledger } from '../audit/ledger.ts';
import type { Policy } from '../policy/policy.ts';
import { describeFailures } from './verify.ts';

/** Looks whether somebody else has written to the store, and says so everywhere: to the workers, on standard error, in the journal. */
export class IntegrityGuard {
  readonly #policy: Policy;
  readonly #ledger: Ledger;
  readonly #publish: () => Promise<void>;

  /** `publish` brings what is in force to every worker. */
  constructor(policy: Policy, ledger: Ledger, publish: () => Promise<void>) {
    this.#policy = policy;
    this.#ledger = ledger;
    this.#publish = publish;
  }

  /** Compares the store with memory where somebody else has touched it; `always`: in any case. */
  async recheck(always = false): Promise<void> {
    if (await this.#policy.recheck(always)) await this.announce();
  }

  async announce(): Promise<void> {
    await Promise.all([this.#publish(), this.alarm()]);
  }

  async alarm(): Promise<void> {
    const { failures } = this.#policy;
    const what =
      failures.length > 0 ? `integrity_failed: ${describeFailures(failures)}` : 'integrity restored';
    process.stderr.write(`sallyport: ${what}\n`);
    const rows = failures.map(({ table, id }) => `${table}/${id}`).join(' ');
    await this.#ledger.record('alarm', 'integrity', failures.length > 0 ? 'integrity_failed' : 'ok', {
      what,
      rows,
    });
  }
}
