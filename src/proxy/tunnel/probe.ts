import { Buffer } from 'node:buffer';

/** The first write to an agent that has gone brings a reset, the next fails. */
const PROBES = 3;
const PROBE_MS = 35;
const PROCESSING = Buffer.from('HTTP/1.1 102 Processing\r\n\r\n', 'latin1');

/**
 * Looks for an agent that ended its side: many clients say that they send no more when they go for good, and nothing but
 * an answer tells, if only a 102. `isAwaited`: whether it waits for an answer still, and knows interim ones.
 */
export function probe(isAwaited: () => boolean, write: (bytes: Buffer) => void, times = PROBES): void {
  if (times === 0) return;
  // One after another: of two timers that a busy machine runs late, both would write before the reset is there.
  setTimeout(() => {
    if (!isAwaited()) return;
    write(PROCESSING);
    probe(isAwaited, write, times - 1);
  }, PROBE_MS);
}
