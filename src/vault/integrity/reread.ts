import { openReadOnly } from '../../store/open.ts';
import { hasOwnSchema, readPolicy } from '../../store/read.ts';
import type { PolicyRows } from '../../store/schema.ts';
import { FOREIGN_SCHEMA } from './inspect.ts';
import { compare, type Failure } from './verify.ts';

/**
 * Reads the file at `path` anew, through a connection of its own, and compares it
 * with what is in force. What cannot be read is a failure too: never throws.
 */
export async function rereadStore(path: string, known: PolicyRows): Promise<Failure[]> {
  try {
    const fresh = await openReadOnly(path);
    try {
      if (!(await hasOwnSchema(fresh.db))) return [FOREIGN_SCHEMA];
      return compare(known, await readPolicy(fresh.db));
    } finally {
      fresh.close();
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return [{ table: 'state', id: '*', reason: `The database cannot be read back (${why})` }];
  }
}
