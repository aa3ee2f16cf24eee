import { z } from 'zod';
import { SallyportError } from '../errors.ts';

const Names = z.array(z.string());
const Fields = z.record(z.string(), z.string());

/** Reads a column that holds a JSON array of texts. Throws store_unavailable where it holds something else. */
export function readNames(column: string): string[] {
  return read(Names, column);
}

/** Reads a column that holds a JSON object of texts. Throws store_unavailable where it holds something else. */
export function readFields(column: string): Record<string, string> {
  return read(Fields, column);
}

function read<T>(shape: z.ZodType<T>, column: string): T {
  try {
    return shape.parse(JSON.parse(column));
  } catch (cause) {
    const message = 'A row of the database is not what Sallyport wrote: restore it from a backup.';
    throw new SallyportError('store_unavailable', message, { cause });
  }
}
