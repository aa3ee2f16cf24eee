import { SallyportError } from '../../errors.ts';
import { eachRow, type PolicyRow, type PolicyRows } from '../../store/schema.ts';

/**
 * How far accepting a state takes the counter: beyond what any state of the branch left behind can have, also of one
 * that the anchor does not know of (a restored token's). None of them is then taken for a later one.
 */
const BRANCH_STEP = 1_000_000;

/** The counter of a new branch, from those of the state that is accepted and of the anchor. */
export function branchCounter(accepted: number, anchored: number): number {
  return Math.max(accepted, anchored) + BRANCH_STEP;
}

/**
 * A copy of a row that the state `counter` wrote, to be signed anew while the one in force stays as it is. Throws
 * integrity_failed where there is none.
 */
export function newestRow(rows: PolicyRows, counter: number): PolicyRow {
  const newest = [...eachRow(rows)].find(({ row }) => row.generation === counter);
  if (!newest) {
    const message =
      'The database is empty, which the HSM knows it was not: restore a backup, or begin anew with `sallyport init`.';
    throw new SallyportError('integrity_failed', message);
  }
  const copy: PolicyRow = { ...newest };
  Object.assign(copy, { row: { ...newest.row } });
  return copy;
}
