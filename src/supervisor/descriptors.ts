import { spawnSync } from 'node:child_process';
import { closeSync, readdirSync, readFileSync } from 'node:fs';

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

const FIRST_AFTER_STDERR = 3;
/** O_CLOEXEC, as proc(5) shows it. */
const CLOSED_AT_EXEC = 0o2000000;

/**
 * Closes what whoever started us has left open by chance: every child would have it too, and a captured worker might
 * read there. Node marks its own descriptors to be closed in children, and of inherited ones those up to 16 and whatever
 * follows them without a gap.
 */
export function closeInherited(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const descriptor = Number(name);
    if (descriptor < FIRST_AFTER_STDERR) continue;
    const flags = flagsOf(descriptor);
    if (flags !== undefined && (flags & CLOSED_AT_EXEC) === 0) closeSync(descriptor);
  }
}

/** Undefined where it is open no more, as the one by which the list was read. */
function flagsOf(descriptor: number): number | undefined {
  try {
    const info = readFileSync(`/proc/self/fdinfo/${descriptor}`, 'latin1');
    const flags = /^flags:\s+([0-7]+)$/m.exec(info)?.[1];
    return flags === undefined ? undefined : Number.parseInt(flags, 8);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Of this process; as good as none where the system does not say. */
function hardLimit(): number {
  const limits = readFileSync('/proc/self/limits', 'latin1');
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1];
  return hard === undefined || hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
}
