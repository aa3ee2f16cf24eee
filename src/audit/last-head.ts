import { statSync } from 'node:fs';
import { join } from 'node:path';
import { BatchReader } from './batches.ts';
import { chainStart, type Head } from './chain.ts';

/** How far back the file is first read for its last link; four times as far where none is there. */
const FIRST_REACH = 16 * 1024;

/**
 * The last link of the journal `fileName` in `folder`, as the file states it: what the vault records of its last
 * journal when it begins the next. Throws the system's errors.
 */
export function lastHead(folder: string, fileName: string): Head {
  const path = join(folder, fileName);
  const { size } = statSync(path);
  for (let reach = FIRST_REACH; ; reach *= 4) {
    const offset = Math.max(0, size - reach);
    const batches = new BatchReader(path, offset);
    let head: Head | undefined;
    for (let batch = batches.next(); batch; batch = batches.next()) head = batch.head;
    if (head || offset === 0) return head ?? chainStart(fileName);
  }
}
