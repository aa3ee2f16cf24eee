import { spawnSync } from 'node:child_process';
import { SallyportError } from '../errors.ts';

/**
 * What holds for this process and all that it starts: files and sockets for their owner alone, and no core dumps, which
 * would hold what memory holds. Node's own handler of SIGUSR1 is displaced: it would open the inspector, by which
 * whoever may send a signal could run any code here. The children have a flag against it. Throws isolation_unavailable where these cannot be switched off.
 */
export function hardenProcess(): void {
  process.umask(0o077);
  process.on('SIGUSR1', () => {});
  const { status, error } = spawnSync('prlimit', ['--pid', String(process.pid), '--core=0:0'], {
    stdio: 'ignore',
  });
  if (status === 0) return;
  throw new SallyportError(
    'isolation_unavailable',
    'Core dumps cannot be switched off, which would hold secrets: install prlimit (package util-linux).',
    { cause: error },
  );
}
