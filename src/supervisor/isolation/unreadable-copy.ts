import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * A copy of node that may be executed but not read: a process started from it is not dumpable, so that processes of the
 * same user can neither read nor trace it (measured). Where that is all there is, files stay readable to a worker, which
 * is why `status` names that mode. Made once (0.1 s), 130 MB of disk. Answers its path.
 */
export function unreadableCopy(data: string): string {
  const copy = join(data, 'run', 'node');
  const source = statSync(process.execPath);
  const present = existsSync(copy) ? statSync(copy) : undefined;
  if (present?.size !== source.size || (present.mode & 0o777) !== 0o111) {
    mkdirSync(dirname(copy), { recursive: true, mode: 0o700 });
    rmSync(copy, { force: true });
    copyFileSync(process.execPath, copy);
    chmodSync(copy, 0o111);
  }
  return copy;
}
