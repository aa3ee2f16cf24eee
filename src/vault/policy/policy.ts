import { timingSafeEqual } from 'node:crypto';
import { SallyportError } from '../../errors.ts';
import { openReadOnly, type Store, unavailable } from '../../store/open.ts';
import { hasOwnSchema, readPolicy, readState } from '../../store/read.ts';
import { type AgentsTable, eachRow, type PolicyRow, type PolicyRows } from '../../store/schema.ts';
import { writeRows } from '../../store/write.ts';
import { decodeAnchor, encodeAnchor, encodeRecord, type StateHead, sameHead } from '../integrity/anchor.ts';
import { StateDigest } from '../integrity/digest.ts';
import { encodeRow } from '../integrity/encode.ts';
import { authenticate, compare, describeFailures, type Failure, rowKey } from '../integrity/verify.ts';
import { StoreWatch } from '../integrity/watch.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { PolicyState } from './state.ts';

const FOREIGN_SCHEMA: Failure = {
  table: 'state',
  id: '*',
  reason: 'The database has tables, triggers or views that the vault did not make',
};

/**
 * The policy and its truthfulness (promise 8). It is read and authenticated once; from then on it is served from
 * memory, and the store is only written, and compared with memory whenever somebody else has touched it.
 * Callers make sure that `load`, `commit`, `anchor` and `recheck` never overlap.
 */
export class Policy {
  readonly #store: Store;
  readonly #keyholder: KeyholderClient;
  readonly #watch: StoreWatch;
  readonly #digest = new StateDigest();
  #state: PolicyState | undefined;
  #head: StateHead = { counter: 0, digest: '' };
  /** The anchor still names an earlier state. */
  #behind = false;
  #found: readonly Failure[] = [];
  #compared: readonly Failure[] = [];
  #confined = true;
  #suspectAgents: readonly AgentsTable[] = [];

  constructor(store: Store, keyholder: KeyholderClient) {
    this.#store = store;
    this.#keyholder = keyholder;
    this.#watch = new StoreWatch(store);
  }

  get loaded(): boolean {
    return this.#state !== undefined;
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

  get failures(): readonly Failure[] {
    return [...this.#found, ...this.#compared];
  }

  /** Set where more is wrong than single sealed values: nothing is trusted then. One sentence. */
  get integrity(): string | null {
    return this.#confined && this.#compared.length === 0 ? null : describeFailures(this.failures);
  }

  /** Agents whose rows failed, so that they can be refused by name. */
  get suspectAgents(): readonly AgentsTable[] {
    return this.#suspectAgents;
  }

  /** What is wrong with a row that is not served because it failed; undefined where nothing is known of it. */
  failureOf(table: Failure['table'], id: string): Failure | undefined {
    return this.#found.find((failure) => failure.table === table && failure.id === id);
  }

  /** Throws integrity_failed where anything in the store is not what the vault wrote. */
  requireSound(): void {
    const failures = this.failures;
    if (failures.length > 0) throw new SallyportError('integrity_failed', describeFailures(failures));
  }

  /** Reads and authenticates everything. Throws hsm_unavailable, store_unavailable; failures are kept, not thrown. */
  async load(): Promise<void> {
    this.#watch.seen();
    const rows = await this.#read();
    if (!rows) {
      this.#found = [FOREIGN_SCHEMA];
      this.#confined = false;
      this.#state = new PolicyState();
      return;
    }
    const failed = await authenticate(this.#keyholder, rows);
    const all = [...eachRow(rows)];
    this.#digest.put(all.map((entry) => [rowKey(entry), entry.row.mac]));
    const counter = all.reduce((highest, { row }) => Math.max(highest, row.generation), 0);
    this.#head = { counter, digest: this.#digest.preview(counter).toString('hex') };
    const anchor = await this.#checkAnchor(all.length === 0);
    this.#found = [...failed.values(), ...(anchor ? [anchor] : [])];
    this.#confined = this.#found.every((failure) => failure.table === 'credential_versions');
    this.#suspectAgents = rows.agents.filter((row) => failed.has(row) && row.removed_at === null);
    const state = new PolicyState();
    for (const entry of all) if (!failed.has(entry.row)) state.put(entry);
    this.#state = state;
  }

  /** The rows, or undefined where the tables are not ours to be read. Throws store_unavailable. */
  async #read(): Promise<PolicyRows | undefined> {
    try {
      return (await hasOwnSchema(this.#store.db)) ? await readPolicy(this.#store.db) : undefined;
    } catch (cause) {
      throw unavailable(this.#store.path, cause);
    }
  }

  /** What is wrong with the state as a whole, measured by the HSM's anchor; writes the first anchor of an empty store. */
  async #checkAnchor(empty: boolean): Promise<Failure | undefined> {
    const failure = (reason: string): Failure => ({ table: 'state', id: '*', reason });
    const bytes = await this.#keyholder.readAnchor();
    if (!bytes && !empty) return failure('The HSM holds no anchor for this database');
    const anchored = bytes && decodeAnchor(bytes);
    if (bytes && !anchored) return failure('The anchor that the HSM holds is not one of this version');
    if (anchored && sameHead(this.#head, anchored)) return undefined;
    if (anchored && !(await this.#isLater(anchored))) return failure(rollback(this.#head, anchored));
    await this.#writeAnchor();
    return undefined;
  }

  /** Whether the vault itself wrote the state found after the anchored one, and had no time left to anchor it. */
  async #isLater(anchored: StateHead): Promise<boolean> {
    if (this.#head.counter <= anchored.counter) return false;
    const record = await readState(this.#store.db);
    if (!record || !sameHead(this.#head, record)) return false;
    const [mac] = await this.#keyholder.mac([encodeRecord(this.#head)]);
    return mac !== undefined && mac.length === record.mac.length && timingSafeEqual(mac, record.mac);
  }

  /**
   * Makes `entries` the new rows: MACs from the HSM, one transaction, then memory. Sets each row's `generation` and
   * `mac`. The anchor is `anchor`'s business. Throws integrity_failed, hsm_unavailable, store_unavailable, and has
   * then changed nothing.
   */
  async commit(entries: readonly PolicyRow[]): Promise<void> {
    const state = this.state;
    this.requireSound();
    const counter = this.#head.counter + 1;
    for (const { row } of entries) row.generation = counter;
    const macs = await this.#keyholder.mac(entries.map(encodeRow));
    const pairs = entries.map((entry, index): [string, Buffer] => {
      entry.row.mac = macs[index] ?? entry.row.mac;
      return [rowKey(entry), entry.row.mac];
    });
    const next = { counter, digest: this.#digest.preview(counter, pairs).toString('hex') };
    const [mac = Buffer.alloc(0)] = await this.#keyholder.mac([encodeRecord(next)]);
    await writeRows(this.#store.db, entries, { ...next, mac }).catch((cause: unknown) => {
      throw unavailable(this.#store.path, cause);
    });
    this.#watch.wrote();
    this.#digest.put(pairs);
    this.#head = next;
    this.#behind = true;
    for (const entry of entries) state.put(entry);
  }

  /** Brings the anchor up to the state in force: from then on no earlier one is accepted. Throws hsm_unavailable. */
  async anchor(): Promise<void> {
    if (this.#behind) await this.#writeAnchor();
  }

  async #writeAnchor(): Promise<void> {
    await this.#keyholder.writeAnchor(encodeAnchor(this.#head));
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
   * Where somebody else has touched the store, reads it anew (not through our own connection, whose file may have
   * been replaced) and compares it with memory. Returns true where `failures` changed.
   */
  async recheck(): Promise<boolean> {
    const state = this.#state;
    if (!state || !this.#watch.touched()) return false;
    this.#watch.seen();
    const before = describeFailures(this.#compared);
    this.#compared = await this.#compare(state.rows());
    return describeFailures(this.#compared) !== before;
  }

  async #compare(known: PolicyRows): Promise<Failure[]> {
    try {
      const fresh = await openReadOnly(this.#store.path);
      try {
        if (!(await hasOwnSchema(fresh.db))) return [FOREIGN_SCHEMA];
        const failures = compare(known, await readPolicy(fresh.db));
        return failures.filter((failure) => !this.failureOf(failure.table, failure.id));
      } finally {
        fresh.close();
      }
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return [{ table: 'state', id: '*', reason: `The database cannot be read back (${why})` }];
    }
  }
}

function rollback(found: StateHead, anchored: StateHead): string {
  return found.counter < anchored.counter
    ? `The database is an older one (state ${found.counter}; the HSM's anchor says ${anchored.counter})`
    : `The database's state ${found.counter} is not the one that the HSM's anchor names (${anchored.counter})`;
}
