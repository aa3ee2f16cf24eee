import { type JournalRecord, type OutcomeRecord, type RequestRecord, VaultRecord } from './record.ts';

/** A request as `audit tail` shows it: what was decided, and how it ended; null while that is not known. */
export type AuditedRequest = Omit<RequestRecord, 'type' | 'id'> &
  Nullable<Pick<OutcomeRecord, 'status' | 'error' | 'overheadMs'>>;

/** An entry of `audit tail --all`: a request, or a record of the vault's own, which has a `type`. */
export type Audited = AuditedRequest | VaultRecord;

type Nullable<T> = { [K in keyof T]: T[K] | null };

/** Most requests that wait for their outcome: more than a worker has open. */
const WINDOW = 10_000;

interface Waiting {
  readonly request: RequestRecord | VaultRecord;
  outcome: OutcomeRecord | null;
}

/** Joins requests with their outcomes, which come later; gives them, and the vault's records, in the order in which they began. */
export class OutcomeJoin {
  /** In the order of the requests; the key is the file and the id. */
  readonly #open = new Map<string, Waiting>();
  #own = 0;

  /** Takes a record of the journal `fileName`; gives the requests that are then complete, or too old to wait for. */
  *add(fileName: string, record: JournalRecord): Generator<Audited> {
    if (isVaultRecord(record)) this.#open.set(`own ${this.#own++}`, { request: record, outcome: null });
    if (record.type === 'request')
      this.#open.set(`${fileName} ${record.id}`, { request: record, outcome: null });
    if (record.type === 'outcome') {
      const waiting = this.#open.get(`${fileName} ${record.id}`);
      if (waiting) waiting.outcome = record;
    }
    for (const [key, { request, outcome }] of this.#open) {
      if (!isVaultRecord(request) && request.decision === 'injected' && !outcome && this.#open.size <= WINDOW)
        return;
      this.#open.delete(key);
      yield audited(request, outcome);
    }
  }

  /** Gives those that still wait, without an outcome where none came. */
  *end(): Generator<Audited> {
    for (const { request, outcome } of this.#open.values()) yield audited(request, outcome);
    this.#open.clear();
  }
}

function isVaultRecord(record: JournalRecord): record is VaultRecord {
  const types: readonly string[] = VaultRecord.shape.type.options;
  return types.includes(record.type);
}

function audited(request: RequestRecord | VaultRecord, outcome: OutcomeRecord | null): Audited {
  if (isVaultRecord(request)) return request;
  const { type: _type, id: _id, ...fields } = request;
  return {
    ...fields,
    status: outcome?.status ?? null,
    error: outcome?.error ?? null,
    overheadMs: outcome?.overheadMs ?? null,
  };
}
