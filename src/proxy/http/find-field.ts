import { nameEquals } from './field-name.ts';
import type { FieldLines } from './message.ts';

/** Index of the first field called `name` (lower case), -1 where there is none. */
export function findField({ bytes, count, offsets }: FieldLines, name: string): number {
  for (let i = 0; i < count; i++) {
    if (nameEquals(bytes, offsets[4 * i] ?? 0, offsets[4 * i + 1] ?? 0, name)) return i;
  }
  return -1;
}
