import { type ErrorCode, SallyportError } from '../../errors.ts';
import type { Store } from '../../store/open.ts';
import { readOwnPolicy } from '../../store/read.ts';
import { eachRow, type PolicyRow } from '../../store/schema.ts';
import type { StateHead } from '../integrity/anchor.ts';
import type { AnchorPlace } from '../integrity/anchor-place.ts';
import { newestRow } from '../integrity/branch.ts';
import { FOREIGN_SCHEMA, type Inspection, inspect, REPLACED, uninspected } from '../integrity/inspect.ts';
import { rereadStore } from '../integrity/reread.ts';
import { SignedState } from '../integrity/signed-state.ts';
import type { Failure } from '../integrity/verify.ts';
import { StoreWatch } from '../integrity/watch.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { Findings } from './findings.ts';
import { PolicyState } from './state.ts';

/**
 * The policy and its truthfulness (promise 8). It is read and authenticated once; from then on it is served from
 * memory, and the store is only written, and compared with memory whenever somebody else has touched it.
 * Callers make sure that `load`, `commit`, `anchor` and `recheck` never overlap.
 */
export class Policy {
  readonly #store: Store;
  readonly #keyholder: KeyholderClient;
  readonly #anchorPlace: AnchorPlace;
  readonly #watch: StoreWatch;
  readonly #signed: SignedState;
  /** What is wrong with the store. */
  readonly findings = new Findings();
  #state: PolicyState | undefined;

  constructor(store: Store, keyholder: KeyholderClient, anchorPlace: AnchorPlace) {
    this.#store = store;
    this.#keyholder = keyholder;
    this.#anchorPlace = anchorPlace;
    this.#watch = new StoreWatch(store);
    this.#signed = new SignedState(store, keyholder, anchorPlace);
  }

  get loaded(): boolean {
    return this.#state !== undefined;
  }

  /** The code of what keeps the policy from being authenticated; null once it is. */
  get unread(): ErrorCode | null {
    return this.loaded ? null : this.#keyholder.problemCode;
  }

  /** Throws hsm_unavailable while the policy has not been authenticated. */
  get state(): PolicyState {
    if (this.#state) return this.#state;
    const why = this.#keyholder.problem ?? 'the policy is being authenticated';
    throw new SallyportError(
      'hsm_unavailable',
      `The policy cannot be read before the HSM has authenticated it (${why.replace(/\.$/, '')}): try again soon.`,
    );
  }

  /** How many changes led to the state in force. */
  get counter(): number {
    return this.head.counter;
  }

  /** The state in force, as it is anchored or about to be. */
  get head(): StateHead {
    return this.#signed.head;
  }

  get failures(): readonly Failure[] {
    return this.findings.all;
  }

  /** See Findings. */
  get integrity(): string | null {
    return this.findings.integrity;
  }

  /** Throws integrity_failed where anything in the store is not what the vault wrote. */
  requireSound(): void {
    this.findings.requireSound();
  }

  /** Reads and authenticates everything. Throws hsm_unavailable, store_unavailable; failures are kept, not thrown. */
  async load(): Promise<void> {
    this.#watch.seen();
    const rows = await readOwnPolicy(this.#store);
    if (!rows) {
      this.findings.found([FOREIGN_SCHEMA], undefined, []);
      this.#state = new PolicyState();
      return;
    }
    const { failed, failure } = await this.#signed.load(rows);
    const suspects = rows.agents.filter((row) => failed.has(row) && row.removed_at === null);
    this.findings.found([...failed.values()], failure, suspects);
    const state = new PolicyState();
    for (const entry of eachRow(rows)) if (!failed.has(entry.row)) state.put(entry);
    this.#state = state;
  }

  /**
   * Makes `entries` the new rows, in the store and then in memory: see SignedState.write. Throws integrity_failed,
   * hsm_unavailable, store_unavailable, and has then changed nothing.
   */
  async commit(entries: readonly PolicyRow[]): Promise<void> {
    const state = this.state;
    this.requireSound();
    await this.#signed.write(entries);
    this.#watch.wrote();
    for (const entry of entries) state.put(entry);
  }

  /**
   * Makes the state that was found at the start the anchored one: after a backup was put back on purpose, or the
   * anchor was lost. Only the state with this digest (hex), and only where every row of it is the vault's own: its
   * newest row is signed anew under a counter of a new branch. Throws invalid_argument, integrity_failed,
   * hsm_unavailable, store_unavailable.
   */
  async accept(digest: string): Promise<StateHead> {
    const state = this.state;
    const strayed = this.findings.strayedOnly; // rows that nobody signed, or a file exchanged meanwhile, are not for accepting
    const { head } = this;
    if (digest !== head.digest) {
      const message = `The digest given is not that of the database (${head.digest}, state ${head.counter}): look again with \`sallyport integrity check\`.`;
      throw new SallyportError('invalid_argument', message);
    }
    if (!strayed) return head;
    const entry = newestRow(state.rows(), head.counter);
    await this.#signed.branch(entry);
    this.#watch.wrote();
    state.put(entry);
    await this.anchor();
    this.findings.accepted();
    return this.head;
  }

  /** Reads the file anew and verifies all of it. Throws hsm_unavailable, store_unavailable. */
  async inspect(): Promise<Inspection> {
    if (this.#watch.replaced) return uninspected(REPLACED);
    return inspect(this.#store.path, this.#keyholder, this.#anchorPlace, this.state.rows());
  }

  /** Brings the anchor up to the state in force: from then on no earlier one is accepted. Throws hsm_unavailable. */
  anchor(): Promise<void> {
    return this.#signed.anchor();
  }

  /**
   * Overwrites what the write-ahead log still holds of shredded values. False where a reader kept it from doing so:
   * try again later.
   */
  flushShredded(): boolean {
    const busy = this.#store.pragma('wal_checkpoint(TRUNCATE)');
    this.#watch.wrote();
    return busy === 0;
  }

  /**
   * Where somebody else has touched the store, reads it anew and compares it with memory; `always`: in any case.
   * Returns true where `failures` changed.
   */
  async recheck(always = false): Promise<boolean> {
    const state = this.#state;
    if (!state || !(always || this.#watch.touched())) return false;
    this.#watch.seen();
    const failures = this.#watch.replaced
      ? [REPLACED]
      : await rereadStore(this.#store.path, state.rows(), this.#signed.record);
    return this.findings.compared(failures.filter(({ table, id }) => !this.findings.failureOf(table, id)));
  }
}
