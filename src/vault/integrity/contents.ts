import { hash } from 'node:crypto';
import type { Store } from '../../store/open.ts';
import { readState } from '../../store/read.ts';
import { eachRow, type PolicyRow, type PolicyRows } from '../../store/schema.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { type StateHead, sameHead } from './anchor.ts';
import type { Pair, StateDigest } from './digest.ts';
import { encodeRow } from './encode.ts';
import { isSigned } from './head.ts';
import { authenticate, type Failure, rowKey } from './verify.ts';

/** A row and what it holds, for the digest of contents. */
export function contentsOf(entry: PolicyRow): Pair {
  return [rowKey(entry), hash('sha256', encodeRow(entry), 'buffer')];
}

/**
 * Finds the rows that the vault did not write. One MAC speaks for all of them where the record of the state is signed, is
 * of this very state, and names the digest of these very contents. Where it does not, the HSM recomputes every row's: that
 * takes its time, and names the rows. `contents` takes over the digest of contents. Throws hsm_unavailable,
 * store_unavailable.
 */
export async function authenticateAll(
  store: Store,
  keyholder: KeyholderClient,
  rows: PolicyRows,
  head: StateHead,
  contents: StateDigest,
): Promise<Map<PolicyRow['row'], Failure>> {
  contents.put([...eachRow(rows)].map(contentsOf));
  const record = await readState(store.db);
  const known =
    record !== undefined &&
    sameHead(record, head) &&
    record.contents === contents.preview(head.counter).toString('hex') &&
    (await isSigned(keyholder, record));
  return known ? new Map() : authenticate(keyholder, rows);
}
