/** A run of bytes to overwrite: start and end offset. */
export type Run = readonly [start: number, end: number];

/**
 * Every place where one of the `secrets` stands in `bytes` and ends after `from`, overlapping ones too. Returns how
 * many, and the bytes that they cover as sorted, disjoint runs.
 */
export function findOccurrences(
  bytes: Buffer,
  secrets: readonly Buffer[],
  from = 0,
): { count: number; runs: readonly Run[] } {
  let count = 0;
  const runs: Run[] = [];
  for (const secret of secrets) {
    let at = bytes.indexOf(secret, Math.max(0, from - secret.length + 1));
    while (at >= 0) {
      count++;
      const end = at + secret.length;
      const last = runs[runs.length - 1];
      if (last && at >= last[0] && at <= last[1]) runs[runs.length - 1] = [last[0], Math.max(last[1], end)];
      else runs.push([at, end]);
      at = bytes.indexOf(secret, at + 1);
    }
  }
  return { count, runs: secrets.length > 1 && runs.length > 1 ? joined(runs) : runs };
}

function joined(runs: readonly Run[]): Run[] {
  const result: Run[] = [];
  for (const run of [...runs].sort((a, b) => a[0] - b[0])) {
    const last = result[result.length - 1];
    if (last && run[0] <= last[1]) result[result.length - 1] = [last[0], Math.max(last[1], run[1])];
    else result.push(run);
  }
  return result;
}

/**
 * The longest end of `bytes` that begins one of the `secrets` without being all of it; undefined where there is none.
 */
export function unfinished(
  bytes: Buffer,
  secrets: readonly Buffer[],
): { secret: Buffer; length: number } | undefined {
  let best: { secret: Buffer; length: number } | undefined;
  for (const secret of secrets) {
    const floor = best ? best.length : 0;
    for (let length = Math.min(secret.length - 1, bytes.length); length > floor; length--) {
      if (endsWithStart(bytes, secret, length)) {
        best = { secret, length };
        break;
      }
    }
  }
  return best;
}

function endsWithStart(bytes: Buffer, secret: Buffer, length: number): boolean {
  const start = bytes.length - length;
  for (let i = 0; i < length; i++) if (bytes[start + i] !== secret[i]) return false;
  return true;
}
