import { openReadOnly } from '../../store/open.ts';
import { hasOwnSchema, readPolicy } from '../../store/read.ts';
import { eachRow, type PolicyRows } from '../../store/schema.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { StateHead } from './anchor.ts';
import type { AnchorPlace } from './anchor-place.ts';
import { StateDigest } from './digest.ts';
import { checkHead } from './head.ts';
import { authenticate, compare, type Failure, rowKey } from './verify.ts';

/** What `sallyport integrity check` shows. */
export interface Inspection {
  readonly state: 'ok' | 'integrity_failed';
  /** How many rows were authenticated, removed ones included. */
  readonly rows: number;
  /** Of what is in the file now. */
  readonly head: StateHead;
  /** What the anchor names; null where there is none of this version. */
  readonly anchored: StateHead | null;
  /** Each names a row, or the state as a whole. */
  readonly failures: readonly Failure[];
}

export const FOREIGN_SCHEMA: Failure = {
  table: 'state',
  id: '*',
  reason: 'The database has tables, triggers or views that the vault did not make',
};

/** See StoreWatch. */
export const REPLACED: Failure = {
  table: 'state',
  id: '*',
  reason: 'Another file is in the place of the database that the vault has open',
};

/** Nothing of the file is looked at. */
export function uninspected(failure: Failure): Inspection {
  const head = { counter: 0, digest: new StateDigest().preview(0).toString('hex') };
  return { state: 'integrity_failed', rows: 0, head, anchored: null, failures: [failure] };
}

/** The state that `rows` make, every MAC taken as it is. */
export function headOf(rows: PolicyRows, digest: StateDigest): StateHead {
  const all = [...eachRow(rows)];
  digest.put(all.map((entry) => [rowKey(entry), entry.row.mac]));
  const counter = all.reduce((highest, { row }) => Math.max(highest, row.generation), 0);
  return { counter, digest: digest.preview(counter).toString('hex') };
}

/**
 * Reads the file at `path` anew and has the HSM verify every row of it, and the state as a whole; `known` is what the
 * vault serves from. Changes nothing. Throws hsm_unavailable, store_unavailable.
 */
export async function inspect(
  path: string,
  keyholder: KeyholderClient,
  anchor: AnchorPlace,
  known: PolicyRows,
): Promise<Inspection> {
  const store = await openReadOnly(path);
  try {
    const own = await hasOwnSchema(store.db);
    if (!own) return uninspected(FOREIGN_SCHEMA);
    const rows = await readPolicy(store.db);
    const count = [...eachRow(rows)].length;
    const head = headOf(rows, new StateDigest());
    const failed = [...(await authenticate(keyholder, rows)).values()];
    const { failure, anchored = null } = await checkHead(store, keyholder, anchor, head, count === 0);
    const named = new Set(failed.map(({ table, id }) => `${table}/${id}`));
    const others = compare(known, rows).filter(({ table, id }) => !named.has(`${table}/${id}`));
    const failures = [...failed, ...others, ...(failure ? [failure] : [])];
    const state = failures.length === 0 ? 'ok' : 'integrity_failed';
    return { state, rows: count, head, anchored, failures };
  } finally {
    store.close();
  }
}
