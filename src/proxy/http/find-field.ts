import { nameEquals } from './field-name.ts';
import type { FieldLines } from './message.ts';

/** Index of the first field called `name` (lower case), from field `first` on; -1 where there is none. */
export function findField({ bytes, count, offsets }: FieldLines, name: string, first = 0): number {
  for (let i = first; i < count; i++) {
    if (nameEquals(bytes, offsets[4 * i] ?? 0, offsets[4 * i + 1] ?? 0, name)) return i;
  }
  return -1;
}
