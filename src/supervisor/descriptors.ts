import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** For a worker's 10,000 tunnels, its idle connections to servers (4,096 at most) and those of nobody yet (2,048). */
const WANTED = 16_384;

/**
 * Raises the limit on descriptors, which every child inherits, where it is too low for a busy worker. Node has raised
 * the soft limit to the hard one by then; the hard one only a privileged user can raise. Returns what to tell the
 * operator where that did not do, one sentence.
 */
export function raiseDescriptorLimit(): string | undefined {
  if (hardLimit() >= WANTED) return undefined;
  const limit = `--nofile=${WANTED}:${WANTED}`;
  spawnSync('prlimit', ['--pid', String(process.pid), limit], { stdio: 'ignore' });
  const hard = hardLimit();
  if (hard >= WANTED) return undefined;
  return `each process may open only ${hard} descriptors, too few for many agents: allow ${WANTED} (ulimit -Hn, or LimitNOFILE= of systemd)`;
}

/** Of this process; as good as none where the system does not say. */
function hardLimit(): number {
  const limits = readFileSync('/proc/self/limits', 'latin1');
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1];
  return hard === undefined || hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
}
