import { SallyportError } from '../../errors.ts';
import type { Ledger } from '../audit/ledger.ts';
import type { Changes } from '../changes.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Policy } from '../policy/policy.ts';
import { missingKeks, requireKeks } from './missing-keks.ts';
import { type Rewrapped, Rewrapper } from './rewrapper.ts';
import { isCurrent, outdated, type Wrapping, wrappings } from './wrapping.ts';

/** Rows in one transaction: other changes wait for about a tenth of a second. */
const BATCH = 500;

export interface Progress {
  /** Label of the KEK that DEKs are wrapped with now. */
  readonly kek: string;
  /** Whether it was made for this; else it was there: a rotation was interrupted, or an older store was put back. */
  readonly made: boolean;
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
  readonly #rewrapper: Rewrapper;
  #running = false;

  constructor(policy: Policy, changes: Changes, keyholder: KeyholderClient, ledger: Ledger) {
    this.#policy = policy;
    this.#changes = changes;
    this.#keyholder = keyholder;
    this.#ledger = ledger;
    this.#rewrapper = new Rewrapper(keyholder);
  }

  /**
   * Makes a new KEK, unless DEKs are still wrapped with an older one than the newest (a rotation that was
   * interrupted: it is finished), and rewraps every DEK in batches, each of which is stored and anchored before the
   * next begins. Yields after each. Where the caller stops, the rest waits for the next call. Throws already_running,
   * integrity_failed, hsm_key_missing (a row needs a KEK that is gone: nothing is done), hsm_unavailable, hsm_refused, store_unavailable, journal_unavailable.
   */
  async *rotate(): AsyncGenerator<Progress> {
    if (this.#running)
      throw new SallyportError('already_running', 'A rotation is under way already: wait until it is done.');
    this.#running = true;
    try {
      const { kek, made } = await this.#changes.exclusive(() => this.#begin());
      let left = outdated(this.#policy.state, kek);
      const total = left.length;
      let done = 0;
      yield { kek, made, done, total };
      while (left.length > 0) {
        let ahead = this.#rewrap(left.slice(0, BATCH), kek);
        for (let at = BATCH; at < left.length + BATCH; at += BATCH) {
          const rewrapped = await ahead;
          ahead = this.#rewrap(left.slice(at, at + BATCH), kek); // the HSM works while the store does
          done += await this.#changes.exclusive(() => this.#store(rewrapped));
          yield { kek, made, done, total: Math.max(total, done) };
        }
        left = outdated(this.#policy.state, kek); // a row that was replaced meanwhile
      }
      // Where rows were replaced or shredded meanwhile there were fewer to be.
      if (done < total) yield { kek, made, done, total: done };
      await this.#ledger.record('admin', 'hsm.rotated', kek, { rewrapped: done });
    } finally {
      this.#running = false;
    }
  }

  /**
   * Destroys an old KEK, once what is being opened with it is open. Throws invalid_argument where a row still needs it,
   * already_running during a rotation, and what the keyholder answers.
   */
  retire(kek: string): Promise<void> {
    if (this.#running) {
      const message = `A rotation is under way, which may still need ${kek}: wait until it is done.`;
      return Promise.reject(new SallyportError('already_running', message));
    }
    return this.#changes.exclusive(async () => {
      this.#policy.requireSound(); // a row that failed is not counted below
      const using = [...wrappings(this.#policy.state)].filter((each) => each.kek === kek).length;
      if (using > 0) {
        const message = `${using} ${using === 1 ? 'row is' : 'rows are'} still wrapped with ${kek}: run \`sallyport hsm rotate\` first.`;
        throw new SallyportError('invalid_argument', message);
      }
      await this.#keyholder.unused(kek); // releases that began before their row was rewrapped
      await this.#destroy(kek);
      await this.#keyholder.refresh();
    });
  }

  /** That it is about to happen is in the journal before, and then what became of it. */
  async #destroy(kek: string): Promise<void> {
    await this.#ledger.record('admin', 'hsm.retiring', kek);
    try {
      await this.#keyholder.retire(kek);
    } catch (error) {
      const code = error instanceof SallyportError ? error.code : 'internal';
      await this.#ledger.record('refusal', 'hsm.retire', kek, { code, why: String(error) });
      throw error;
    }
    await this.#ledger.record('admin', 'hsm.retire', kek);
  }

  async #begin(): Promise<Pick<Progress, 'kek' | 'made'>> {
    this.#policy.requireSound();
    const { kek: newest, keys } = await this.#keyholder.refresh();
    requireKeks(missingKeks(this.#policy.state, new Set(keys.map(({ label }) => label))));
    if (outdated(this.#policy.state, newest).length > 0) return { kek: newest, made: false };
    const { kek, made } = await this.#keyholder.rotate(newest);
    await this.#keyholder.refresh();
    await this.#ledger.record('admin', 'hsm.rotate', kek, { before: newest });
    return { kek, made };
  }

  /** One of a row at a time, each makes a whole new row: the other is outdated still when all is done, and comes then. */
  #rewrap(batch: readonly Wrapping[], kek: string): Promise<Rewrapped[]> {
    const current = batch.filter((each) => isCurrent(this.#policy.state, each));
    const perRow = new Map(current.map((each) => [each.entry.row, each]));
    const rewrapped = this.#rewrapper.rewrap([...perRow.values()], kek);
    rewrapped.catch(() => {}); // met where it is waited for, unless the rotation ends before
    return rewrapped;
  }

  /** Stores those whose row is still the one in force; answers how many. */
  async #store(rewrapped: readonly Rewrapped[]): Promise<number> {
    const current = rewrapped.filter(({ wrapping }) => isCurrent(this.#policy.state, wrapping));
    if (current.length === 0) return 0;
    await this.#policy.commit(current.map(({ entry }) => entry));
    await this.#policy.anchor();
    return current.length;
  }
}
