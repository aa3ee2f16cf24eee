import { type Store, unavailable } from '../../store/open.ts';
import { readState } from '../../store/read.ts';
import type { PolicyRow, PolicyRows, StateTable } from '../../store/schema.ts';
import { eachRow } from '../../store/schema.ts';
import { writeRows } from '../../store/write.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { encodeRecord, type StateHead } from './anchor.ts';
import type { AnchorPlace } from './anchor-place.ts';
import { branchCounter } from './branch.ts';
import { authenticateAll, contentsOf } from './contents.ts';
import { StateDigest } from './digest.ts';
import { encodeRow } from './encode.ts';
import { checkHead } from './head.ts';
import { headOf } from './inspect.ts';
import { type Failure, rowKey } from './verify.ts';

/** What authenticating a store has shown. */
export interface Authenticated {
  /** Rows that the vault did not write. */
  readonly failed: ReadonlyMap<PolicyRow['row'], Failure>;
  /** Set where the state as a whole is not the one that the vault left. */
  readonly failure: Failure | undefined;
}

/** The rows in the store as one state: its digests, its record under the HSM's MAC, and its anchor outside the store. */
export class SignedState {
  readonly #store: Store;
  readonly #keyholder: KeyholderClient;
  readonly #anchorPlace: AnchorPlace;
  #digest = new StateDigest();
  #contents = new StateDigest('sallyport contents v1', this.#digest);
  #head: StateHead = { counter: 0, digest: '' };
  #record: StateTable | undefined;
  /** The anchor still names an earlier state. */
  #behind = false;

  constructor(store: Store, keyholder: KeyholderClient, anchorPlace: AnchorPlace) {
    this.#store = store;
    this.#keyholder = keyholder;
    this.#anchorPlace = anchorPlace;
  }

  /** The state in force, as it is anchored or about to be. */
  get head(): StateHead {
    return this.#head;
  }

  /** Its record in the store, as it was found or written last. */
  get record(): StateTable | undefined {
    return this.#record;
  }

  /** Takes over the state that `rows` make, having authenticated it. Throws hsm_unavailable, store_unavailable. */
  async load(rows: PolicyRows): Promise<Authenticated> {
    const [store, keyholder] = [this.#store, this.#keyholder];
    this.#digest = new StateDigest();
    this.#contents = new StateDigest('sallyport contents v1', this.#digest);
    this.#head = headOf(rows, this.#digest);
    const failed = await authenticateAll(store, keyholder, rows, this.#head, this.#contents);
    this.#record = await readState(store.db);
    const empty = eachRow(rows).next().done === true;
    const { failure, behind } = await checkHead(store, keyholder, this.#anchorPlace, this.#head, empty);
    if (behind) await this.#writeAnchor();
    return { failed, failure };
  }

  /**
   * Writes `entries` and the state that they lead to, in one transaction: MACs from the HSM first. Sets each row's
   * `generation` and `mac`. The anchor is `anchor`'s business. Throws hsm_unavailable, store_unavailable, and has then
   * changed nothing.
   */
  async write(entries: readonly PolicyRow[], counter = this.#head.counter + 1): Promise<void> {
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
    draft.take();
    contents.take();
    this.#head = next;
    this.#record = { id: 1, ...record };
    this.#behind = true;
  }

  /** The same for an entry of the state that was found, beyond every state of the branch that is left behind. */
  async branch(entry: PolicyRow): Promise<void> {
    const found = await this.#anchorPlace.read();
    const anchored = found === undefined || found === 'foreign' ? 0 : found.counter;
    await this.write([entry], branchCounter(this.#head.counter, anchored));
  }

  /** Brings the anchor up to the state in force: from then on no earlier one is accepted. Throws hsm_unavailable. */
  async anchor(): Promise<void> {
    if (this.#behind) await this.#writeAnchor();
  }

  async #writeAnchor(): Promise<void> {
    await this.#anchorPlace.write(this.#head);
    this.#behind = false;
  }
}
