import { timingSafeEqual } from 'node:crypto';
import { eachRow, type PolicyRow, type PolicyRows, type PolicyTable, rowId } from '../../store/schema.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { encodeRow } from './encode.ts';

/** Something in the store that is not what the vault wrote. `id` names the row; "*" is the table or store as a whole. */
export interface Failure {
  readonly table: PolicyTable | 'state';
  readonly id: string;
  readonly reason: string;
}

/** One request to the HSM: about 25 ms of SoftHSM's time, far from the keyholder's deadline and a frame's limit. */
const BATCH_ROWS = 1_000;
const BATCH_BYTES = 8 * 1024 * 1024;

/** Has the HSM recompute every row's MAC; returns the rows that fail. Throws hsm_unavailable. */
export async function authenticate(
  keyholder: KeyholderClient,
  rows: PolicyRows,
): Promise<Map<PolicyRow['row'], Failure>> {
  const failures = new Map<PolicyRow['row'], Failure>();
  let batch: PolicyRow[] = [];
  let messages: Buffer[] = [];
  let bytes = 0;
  const check = async (): Promise<void> => {
    const macs = messages.length === 0 ? [] : await keyholder.mac(messages);
    for (const [index, entry] of batch.entries()) {
      const expected = macs[index];
      const found = entry.row.mac;
      if (expected && found.length === expected.length && timingSafeEqual(expected, found)) continue;
      failures.set(
        entry.row,
        failure(entry, 'was not written by the vault: its MAC does not fit its contents'),
      );
    }
    batch = [];
    messages = [];
    bytes = 0;
  };
  for (const entry of eachRow(rows)) {
    const message = encodeRow(entry);
    if (batch.length === BATCH_ROWS || bytes + message.length > BATCH_BYTES) await check();
    batch.push(entry);
    messages.push(message);
    bytes += message.length;
  }
  await check();
  return failures;
}

/** Key of a row among all tables. */
export function rowKey(entry: PolicyRow): string {
  return `${entry.table}/${rowId(entry)}`;
}

/** Compares what is in the store with what the vault last wrote there, byte for byte. */
export function compare(known: PolicyRows, found: PolicyRows): Failure[] {
  const failures: Failure[] = [];
  const unseen = new Map<string, PolicyRow>();
  for (const entry of eachRow(known)) unseen.set(rowKey(entry), entry);
  for (const entry of eachRow(found)) {
    const key = rowKey(entry);
    const expected = unseen.get(key);
    unseen.delete(key);
    if (!expected) failures.push(failure(entry, 'was inserted by somebody else'));
    else if (!same(expected, entry)) failures.push(failure(entry, 'was changed by somebody else'));
  }
  for (const entry of unseen.values()) failures.push(failure(entry, 'was deleted by somebody else'));
  return failures;
}

function same(a: PolicyRow, b: PolicyRow): boolean {
  return a.row.mac.equals(b.row.mac) && encodeRow(a).equals(encodeRow(b));
}

function failure(entry: PolicyRow, reason: string): Failure {
  return { table: entry.table, id: rowId(entry), reason };
}

/** One sentence about `failures`, for refusals, alarms and `status`. */
export function describeFailures(failures: readonly Failure[]): string {
  const [first] = failures;
  if (!first) return '';
  const what =
    first.table === 'state' ? first.reason : `The row ${first.id} of ${first.table} ${first.reason}`;
  const more = failures.length > 1 ? ` (and ${failures.length - 1} more)` : '';
  return `${what}${more}. Somebody has written to the database: restore it, or remove what was added.`;
}
