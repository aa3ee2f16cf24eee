import { type ErrorCode, SallyportError } from '../../errors.ts';
import { type Store, unavailable } from '../../store/open.ts';
import { readOwnPolicy, readState } from '../../store/read.ts';
import { eachRow, type PolicyRow, type StateTable } from '../../store/schema.ts';
import { writeRows } from '../../store/write.ts';
import { encodeRecord, type StateHead } from '../integrity/anchor.ts';
import type { AnchorPlace } from '../integrity/anchor-place.ts';
import { branchCounter, newestRow } from '../integrity/branch.ts';
import { authenticateAll, contentsOf } from '../integrity/contents.ts';
import { StateDigest } from '../integrity/digest.ts';
import { encodeRow } from '../integrity/encode.ts';
import { checkHead } from '../integrity/head.ts';
import {
  FOREIGN_SCHEMA,
  headOf,
  type Inspection,
  inspect,
  REPLACED,
  uninspected,
} from '../integrity/inspect.ts';
import { rereadStore } from '../integrity/reread.ts';
import { type Failure, rowKey } from '../integrity/verify.ts';
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
  #digest = new StateDigest();
  #contents = new StateDigest('sallyport contents v1', this.#digest);
  /** What is wrong with the store. */
  readonly findings = new Findings();
  #state: PolicyState | undefined;
  #head: StateHead = { counter: 0, digest: '' };
  /** Of the state in the store, as it was found or written last. */
  #record: StateTable | undefined;
  /** The anchor still names an earlier state. */
  #behind = false;

  constructor(store: Store, keyholder: KeyholderClient, anchorPlace: AnchorPlace) {
    this.#store = store;
    this.#keyholder = keyholder;
    this.#anchorPlace = anchorPlace;
    this.#watch = new StoreWatch(store);
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
    return this.#head.counter;
  }

  /** The state in force, as it is anchored or about to be. */
  get head(): StateHead {
    return this.#head;
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
    this.#digest = new StateDigest();
    this.#contents = new StateDigest('sallyport contents v1', this.#digest);
    const all = [...eachRow(rows)];
    this.#head = headOf(rows, this.#digest);
    const failed = await authenticateAll(this.#store, this.#keyholder, rows, this.#head, this.#contents);
    this.#record = await readState(this.#store.db);
    const empty = all.length === 0;
    const { failure, behind } = await checkHead(
      this.#store,
      this.#keyholder,
      this.#anchorPlace,
      this.#head,
      empty,
    );
    if (behind) await this.#writeAnchor();
    const suspects = rows.agents.filter((row) => failed.has(row) && row.removed_at === null);
    this.findings.found([...failed.values()], failure, suspects);
    const state = new PolicyState();
    for (const entry of all) if (!failed.has(entry.row)) state.put(entry);
    this.#state = state;
  }

  /**
   * Makes `entries` the new rows: MACs from the HSM, one transaction, then memory. Sets each row's `generation` and
   * `mac`. The anchor is `anchor`'s business. Throws integrity_failed, hsm_unavailable, store_unavailable, and has
   * then changed nothing.
   */
  async commit(entries: readonly PolicyRow[]): Promise<void> {
    const state = this.state;
    this.requireSound();
    await this.#write(state, entries, this.#head.counter + 1);
  }

  async #write(state: PolicyState, entries: readonly PolicyRow[], counter: number): Promise<void> {
    for (const { row } of entries) row.generation = counter;
    const macs = await this.#keyholder.mac(entries.map(encodeRow));
    const pairs = entries.map((entry, index): [string, Buffer] => {
      entry.row.mac = macs[index] ?? entry.row.mac;
      return [rowKey(entry), entry.row.mac];
    });
    const draft = this.#digest.draft(pairs);
    const next = { counter, digest: draft.at(counter).toString('hex') };
    const contents = this.#contents.draft(entries.map(contentsOf));
    const holds = contents.at(counter).toString('hex');
    const [mac = Buffer.alloc(0)] = await this.#keyholder.mac([encodeRecord(next, holds)]);
    const record = { ...next, mac, contents: holds };
    await writeRows(this.#store.db, entries, record).catch((cause: unknown) => {
      throw unavailable(this.#store.path, cause);
    });
    this.#record = { id: 1, ...record };
    this.#watch.wrote();
    draft.take();
    contents.take();
    this.#head = next;
    this.#behind = true;
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
    if (digest !== this.#head.digest) {
      const message = `The digest given is not that of the database (${this.#head.digest}, state ${this.#head.counter}): look again with \`sallyport integrity check\`.`;
      throw new SallyportError('invalid_argument', message);
    }
    if (!strayed) return this.#head;
    const entry = newestRow(state.rows(), this.#head.counter);
    const found = await this.#anchorPlace.read();
    const anchored = found === undefined || found === 'foreign' ? 0 : found.counter;
    await this.#write(state, [entry], branchCounter(this.#head.counter, anchored));
    await this.#writeAnchor();
    this.findings.accepted();
    return this.#head;
  }

  /** Reads the file anew and verifies all of it. Throws hsm_unavailable, store_unavailable. */
  async inspect(): Promise<Inspection> {
    if (this.#watch.replaced) return uninspected(REPLACED);
    return inspect(this.#store.path, this.#keyholder, this.#anchorPlace, this.state.rows());
  }

  /** Brings the anchor up to the state in force: from then on no earlier one is accepted. Throws hsm_unavailable. */
  async anchor(): Promise<void> {
    if (this.#behind) await this.#writeAnchor();
  }

  async #writeAnchor(): Promise<void> {
    await this.#anchorPlace.write(this.#head);
    this.#behind = false;
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
      : await rereadStore(this.#store.path, state.rows(), this.#record);
    return this.findings.compared(failures.filter(({ table, id }) => !this.findings.failureOf(table, id)));
  }
}
