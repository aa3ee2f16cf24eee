import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** Files and the kernel's own pages hold nothing of ours, and some cannot be read. */
const SKIPPED = /\[(vvar|vvar_vclock|vdso|vsyscall)\]$/;
const CHUNK = 4 * 1024 * 1024;

/**
 * The same in what a core of the process would hold: all but what was marked as not to be dumped (madvise(2),
 * MADV_DONTDUMP; "dd" in proc(5)'s VmFlags).
 */
export function countInCore(pid: number, needles: readonly Buffer[]): number[] {
  const kept = new Set<string>();
  let region = '';
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    region = /^[0-9a-f]+-[0-9a-f]+(?= )/.exec(line)?.[0] ?? region;
    if (/^VmFlags:.* dd( |$)/.test(line)) kept.add(region);
  }
  return countInMemory(pid, needles, kept);
}

/**
 * Counts how often each of `needles` stands in the readable memory of process `pid` (/proc/PID/mem). Where a needle
 * could lie across two chunks of one region it is found too. `skipped`: regions that are not looked at.
 */
export function countInMemory(
  pid: number,
  needles: readonly Buffer[],
  skipped: ReadonlySet<string> = new Set(),
): number[] {
  const counts = needles.map(() => 0);
  const overlap = Math.max(...needles.map((needle) => needle.length)) - 1;
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const chunk = Buffer.allocUnsafeSlow(CHUNK);
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n')) {
      const [, from = '', to = '', readable] = /^([0-9a-f]+)-([0-9a-f]+) (r?)/.exec(line) ?? [];
      if (!readable || SKIPPED.test(line) || skipped.has(`${from}-${to}`)) continue;
      const end = Number.parseInt(to, 16);
      let at = Number.parseInt(from, 16);
      while (at < end) {
        const read = tryRead(memory, chunk, Math.min(CHUNK, end - at), at);
        if (read === 0) break; // unmapped meanwhile
        const bytes = chunk.subarray(0, read);
        const last = at + read >= end || read <= overlap;
        const limit = last ? read : read - overlap; // what begins later is found with the next chunk
        needles.forEach((needle, index) => {
          for (
            let hit = bytes.indexOf(needle);
            hit !== -1 && hit < limit;
            hit = bytes.indexOf(needle, hit + 1)
          ) {
            counts[index] = (counts[index] ?? 0) + 1;
          }
        });
        if (last) break;
        at += limit;
      }
    }
  } finally {
    closeSync(memory);
  }
  return counts;
}

function tryRead(memory: number, into: Buffer, length: number, at: number): number {
  try {
    return readSync(memory, into, 0, length, at);
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'EIO' || error.code === 'EFAULT'))
      return 0;
    throw error;
  }
}
