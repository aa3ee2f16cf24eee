import { isDeepStrictEqual } from 'node:util';
import { openReadOnly } from '../../store/open.ts';
import { hasOwnSchema, readPolicy, readState } from '../../store/read.ts';
import type { PolicyRows, StateTable } from '../../store/schema.ts';
import { FORGED_RECORD } from './head.ts';
import { FOREIGN_SCHEMA } from './inspect.ts';
import { compare, type Failure } from './verify.ts';

/**
 * Reads the file at `path` anew, through a connection of its own, and compares it
 * with what is in force. What cannot be read is a failure too: never throws.
 */
export async function rereadStore(
  path: string,
  known: PolicyRows,
  record: StateTable | undefined,
): Promise<Failure[]> {
  try {
    const fresh = await openReadOnly(path);
    try {
      if (!(await hasOwnSchema(fresh.db))) return [FOREIGN_SCHEMA];
      const failures = compare(known, await readPolicy(fresh.db));
      if (isDeepStrictEqual(await readState(fresh.db), record)) return failures;
      return [...failures, { table: 'state', id: '*', reason: FORGED_RECORD }];
    } finally {
      fresh.close();
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return [{ table: 'state', id: '*', reason: `The database cannot be read back (${why})` }];
  }
}
