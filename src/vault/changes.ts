import { randomUUID } from 'node:crypto';
import type { VaultRecord } from '../audit/record.ts';
import { SallyportError } from '../errors.ts';
import type { PolicyRow } from '../store/schema.ts';
import type { Ledger } from './audit/ledger.ts';
import type { Policy } from './policy/policy.ts';
import type { PolicyState } from './policy/state.ts';
import { Turn } from './turn.ts';

/** What a change wants: rows to be written (their `generation` and `mac` are set then), and what to answer. */
export interface Change<T> {
  readonly rows: readonly PolicyRow[];
  /** Sealed values are being shredded, so no copy may stay in the store's log: before the answer, or within seconds. */
  readonly shreds?: 'now' | 'soon' | undefined;
  readonly result: T;
  /** For the journal: what was changed. Never a secret. */
  readonly detail?: VaultRecord['detail'];
}

/** For rows being drafted: `generation` and `mac` are set when they are committed. */
export const UNSIGNED = { generation: 0, mac: Buffer.alloc(0) } as const;

/**
 * The one way to change the policy: one change at a time, answered only once it is stored, anchored, in force in
 * every worker (promise 7) and in the journal.
 */
export class Changes {
  readonly #policy: Policy;
  readonly #ledger: Ledger;
  readonly #publish: () => Promise<void>;
  readonly #check: () => Promise<void>;
  readonly #shredded: (credentials: ReadonlySet<string>) => Promise<void>;
  readonly #turn = new Turn();
  #unflushed = false;

  /**
   * `publish` brings the policy in force in every worker, and resolves once it is. `check` looks whether somebody else
   * has written to the store, and deals with it. `shredded`: versions of these credentials hold nothing any more.
   */
  constructor(
    policy: Policy,
    ledger: Ledger,
    publish: () => Promise<void>,
    check: () => Promise<void>,
    shredded: (credentials: ReadonlySet<string>) => Promise<void>,
  ) {
    this.#policy = policy;
    this.#ledger = ledger;
    this.#publish = publish;
    this.#check = check;
    this.#shredded = shredded;
  }

  get idle(): boolean {
    return !this.#turn.taken;
  }

  /** Runs `work` alone: nothing else that goes through here runs meanwhile. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.#turn.take(work);
  }

  /**
   * Applies what `draft` makes of the state. `action` and `subject` are for the journal. Throws what `draft` throws,
   * integrity_failed, hsm_unavailable, store_unavailable with nothing changed; worker_not_acknowledged,
   * journal_unavailable, hsm_unavailable with the change made (the message says so).
   */
  apply<T>(
    action: string,
    subject: string,
    draft: (state: PolicyState) => Promise<Change<T>> | Change<T>,
  ): Promise<T> {
    return this.exclusive(async () => {
      await this.#check();
      this.#policy.requireSound();
      const change = await draft(this.#policy.state);
      if (change.rows.length === 0) return change.result;
      await this.#policy.commit(change.rows);
      if (change.shreds) this.#unflushed = change.shreds === 'soon' || !this.#policy.flushShredded();
      await this.#finish([this.#anchored(change.rows)], action, subject, change.detail);
      return change.result;
    });
  }

  /** Overwrites what is left of shredded values where nothing else goes on. */
  tidy(): void {
    if (this.#unflushed && this.idle) this.#unflushed = !this.#policy.flushShredded();
  }

  /** Like `apply` for what is not stored: `alter` changes memory, which is then published and journalled. */
  announce<T>(action: string, subject: string, alter: (state: PolicyState) => T): Promise<T> {
    return this.exclusive(async () => {
      const result = alter(this.#policy.state);
      await this.#finish([], action, subject, {});
      return result;
    });
  }

  /** Keys in the HSM go with the versions that refer to them, once no older state of the store is accepted any more. */
  async #anchored(rows: readonly PolicyRow[]): Promise<void> {
    await this.#policy.anchor();
    const shredded = rows.flatMap((entry) =>
      entry.table === 'credential_versions' && entry.row.sealed === null ? [entry.row.credential] : [],
    );
    if (shredded.length > 0) await this.#shredded(new Set(shredded));
  }

  async #finish(
    steps: readonly Promise<void>[],
    action: string,
    subject: string,
    detail: VaultRecord['detail'] = {},
  ): Promise<void> {
    const record = this.#ledger.record('admin', action, subject, detail);
    const done = await Promise.allSettled([...steps, this.#publish(), record]);
    for (const outcome of done) if (outcome.status === 'rejected') throw unfinished(outcome.reason);
  }
}

function unfinished(cause: unknown): SallyportError {
  const why = cause instanceof Error ? cause.message : String(cause);
  const code = cause instanceof SallyportError ? cause.code : 'internal';
  return new SallyportError(code, `The change is made, but not all is done that belongs to it: ${why}`, {
    cause,
  });
}

/** A new identifier, such as "agt_0f3c…": never used again, says what it is of. */
export function newId(prefix: 'agt' | 'crd' | 'grt'): string {
  return `${prefix}_${randomUUID().replaceAll('-', '')}`;
}
