import { SallyportError } from '../../errors.ts';
import type { PolicyRow } from '../../store/schema.ts';
import type { Ledger } from '../audit/ledger.ts';
import type { Changes } from '../changes.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Policy } from '../policy/policy.ts';
import type { PolicyState } from '../policy/state.ts';
import { rewrapped, wrappings } from './wrapping.ts';

/** Rows in one transaction: other changes wait for about a tenth of a second. */
const BATCH = 250;
/** How many DEKs are on their way to the keyholder at once. */
const AT_ONCE = 25;

export interface Progress {
  /** Label of the KEK that DEKs are wrapped with now. */
  readonly kek: string;
  /** DEKs rewrapped so far, and all there were to be. */
  readonly done: number;
  readonly total: number;
}

/**
 * Versions of the KEK. Each row says which one its DEK is wrapped with: so what is left to do is known after a crash,
 * and both KEKs are used meanwhile.
 */
export class Rotation {
  readonly #policy: Policy;
  readonly #changes: Changes;
  readonly #keyholder: KeyholderClient;
  readonly #ledger: Ledger;
  #running = false;

  constructor(policy: Policy, changes: Changes, keyholder: KeyholderClient, ledger: Ledger) {
    this.#policy = policy;
    this.#changes = changes;
    this.#keyholder = keyholder;
    this.#ledger = ledger;
  }

  /**
   * Makes a new KEK, unless DEKs are still wrapped with an older one than the newest (a rotation that was
   * interrupted: it is finished), and rewraps every DEK in batches, each of which is stored and anchored before the
   * next begins. Yields after each. Where the caller stops, the rest waits for the next call. Throws already_running,
   * integrity_failed, hsm_unavailable, store_unavailable, journal_unavailable.
   */
  async *rotate(): AsyncGenerator<Progress> {
    if (this.#running)
      throw new SallyportError('already_running', 'A rotation is under way already: wait until it is done.');
    this.#running = true;
    try {
      const kek = await this.#changes.exclusive(() => this.#begin());
      const total = outdated(this.#policy.state, kek).length;
      let done = 0;
      yield { kek, done, total };
      for (;;) {
        const count = await this.#changes.exclusive(() => this.#batch(kek));
        if (count === 0) break;
        done += count;
        yield { kek, done, total: Math.max(total, done) };
      }
      await this.#ledger.record('admin', 'hsm.rotated', kek, { rewrapped: done });
    } finally {
      this.#running = false;
    }
  }

  /** Destroys an old KEK. Throws invalid_argument where a row still needs it, and what the keyholder answers. */
  retire(kek: string): Promise<void> {
    return this.#changes.exclusive(async () => {
      this.#policy.requireSound(); // a row that failed is not counted below
      const using = [...wrappings(this.#policy.state)].filter((each) => each.kek === kek).length;
      if (using > 0) {
        const message = `${using} ${using === 1 ? 'row is' : 'rows are'} still wrapped with ${kek}: run \`sallyport hsm rotate\` first.`;
        throw new SallyportError('invalid_argument', message);
      }
      await this.#ledger.record('admin', 'hsm.retire', kek);
      await this.#keyholder.retire(kek);
      await this.#keyholder.refresh();
    });
  }

  async #begin(): Promise<string> {
    this.#policy.requireSound();
    const { kek: newest } = await this.#keyholder.refresh();
    if (outdated(this.#policy.state, newest).length > 0) return newest;
    const { kek } = await this.#keyholder.rotate(newest);
    await this.#keyholder.refresh();
    await this.#ledger.record('admin', 'hsm.rotate', kek, { before: newest });
    return kek;
  }

  /** Rewraps some; answers how many, 0 where none is left. */
  async #batch(kek: string): Promise<number> {
    const { state } = this.#policy;
    // One of a row at a time: each makes a whole new row.
    const perRow = new Map(outdated(state, kek).map((each) => [each.row, each]));
    const batch = [...perRow.values()].slice(0, BATCH);
    if (batch.length === 0) return 0;
    const rows: PolicyRow[] = [];
    for (let at = 0; at < batch.length; at += AT_ONCE) {
      const some = batch.slice(at, at + AT_ONCE);
      const settled = await Promise.allSettled(some.map((each) => rewrapped(this.#keyholder, each)));
      for (const each of settled) {
        if (each.status === 'rejected') throw each.reason;
        rows.push(each.value);
      }
    }
    await this.#policy.commit(rows);
    await this.#policy.anchor();
    return rows.length;
  }
}

function outdated(state: PolicyState, kek: string) {
  return [...wrappings(state)].filter((each) => each.kek !== kek);
}
