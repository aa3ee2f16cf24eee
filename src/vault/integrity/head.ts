import { timingSafeEqual } from 'node:crypto';
import type { Store } from '../../store/open.ts';
import { readState } from '../../store/read.ts';
import type { StateTable } from '../../store/schema.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { encodeRecord, type StateHead, sameHead } from './anchor.ts';
import type { AnchorPlace } from './anchor-place.ts';
import type { Failure } from './verify.ts';

/** A state found in a store, measured by the anchor. */
export interface HeadCheck {
  /** What is wrong with the state as a whole; undefined where it is the one that the vault left. */
  readonly failure: Failure | undefined;
  /** What the anchor names; undefined where there is none, or none of this version. */
  readonly anchored: StateHead | undefined;
  /** The state is sound and the anchor still has to be brought up to it. */
  readonly behind: boolean;
}

/** The record of the state is rewritten with each change: nobody but the vault has a reason to touch it. */
export const FORGED_RECORD = "The record of the database's state was changed by somebody else";

/** Measures `head`, the state found in `store` (`empty`: it has no rows), by the anchor. Throws hsm_unavailable. */
export async function checkHead(
  store: Store,
  keyholder: KeyholderClient,
  anchor: AnchorPlace,
  head: StateHead,
  empty: boolean,
): Promise<HeadCheck> {
  const found = await anchor.read();
  const anchored = found === 'foreign' ? undefined : found;
  const wrong = (reason: string): HeadCheck => ({
    failure: { table: 'state', id: '*', reason },
    anchored,
    behind: false,
  });
  if (found === 'foreign') {
    return wrong(`${anchor.name} holds an anchor that this vault did not write, or not in this version`);
  }
  if (!anchored && !empty) return wrong(`${anchor.name} holds no anchor for this database`);
  if (!anchored) return { failure: undefined, anchored, behind: true };
  const record = await readState(store.db);
  // Every change writes the record, and a restored backup is left without it: whoever restored one has to say so.
  if (!record && !empty)
    return wrong('The database was restored from a backup (it has no record of its state)');
  if (sameHead(head, anchored)) {
    const forged = record && !(sameHead(head, record) && (await isSigned(keyholder, record)));
    return forged ? wrong(FORGED_RECORD) : { failure: undefined, anchored, behind: false };
  }
  if (record && (await isLater(keyholder, head, anchored, record)))
    return { failure: undefined, anchored, behind: true };
  return wrong(rollback(head, anchored));
}

/** Whether the vault itself wrote the state found after the anchored one, and had no time left to anchor it. */
async function isLater(
  keyholder: KeyholderClient,
  head: StateHead,
  anchored: StateHead,
  record: StateTable,
): Promise<boolean> {
  if (head.counter <= anchored.counter || !sameHead(head, record)) return false;
  return isSigned(keyholder, record);
}

/** Whether the HSM made the record's MAC. Throws hsm_unavailable. */
export async function isSigned(keyholder: KeyholderClient, record: StateTable): Promise<boolean> {
  const [mac] = await keyholder.mac([encodeRecord(record, record.contents)]);
  return mac !== undefined && mac.length === record.mac.length && timingSafeEqual(mac, record.mac);
}

function rollback(found: StateHead, anchored: StateHead): string {
  return found.counter < anchored.counter
    ? `The database is an older one (state ${found.counter}; the anchor says ${anchored.counter})`
    : `The database's state ${found.counter} is not the one that the anchor names (${anchored.counter})`;
}
