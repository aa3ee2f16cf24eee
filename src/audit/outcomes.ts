import type { JournalRecord, OutcomeRecord, RequestRecord } from './record.ts';

/** A request as `audit tail` shows it: what was decided, and how it ended; null while that is not known. */
export type AuditedRequest = Omit<RequestRecord, 'type' | 'id'> &
  Nullable<Pick<OutcomeRecord, 'status' | 'error' | 'overheadMs'>>;

type Nullable<T> = { [K in keyof T]: T[K] | null };

/** Most requests that wait for their outcome: more than a worker has open. */
const WINDOW = 10_000;

/** Joins requests with their outcomes, which come later; gives them in the order of the requests. */
export class OutcomeJoin {
  /** In the order of the requests; the key is the file and the id. */
  readonly #open = new Map<string, { readonly request: RequestRecord; outcome: OutcomeRecord | null }>();

  /** Takes a record of the journal `fileName`; gives the requests that are then complete, or too old to wait for. */
  *add(fileName: string, record: JournalRecord): Generator<AuditedRequest> {
    if (record.type === 'request')
      this.#open.set(`${fileName} ${record.id}`, { request: record, outcome: null });
    if (record.type === 'outcome') {
      const waiting = this.#open.get(`${fileName} ${record.id}`);
      if (waiting) waiting.outcome = record;
    }
    for (const [key, { request, outcome }] of this.#open) {
      if (request.decision === 'injected' && !outcome && this.#open.size <= WINDOW) return;
      this.#open.delete(key);
      yield audited(request, outcome);
    }
  }

  /** Gives those that still wait, without an outcome where none came. */
  *end(): Generator<AuditedRequest> {
    for (const { request, outcome } of this.#open.values()) yield audited(request, outcome);
    this.#open.clear();
  }
}

function audited(request: RequestRecord, outcome: OutcomeRecord | null): AuditedRequest {
  const { type: _type, id: _id, ...fields } = request;
  return {
    ...fields,
    status: outcome?.status ?? null,
    error: outcome?.error ?? null,
    overheadMs: outcome?.overheadMs ?? null,
  };
}
