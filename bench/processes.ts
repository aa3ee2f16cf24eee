import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { setTimeout } from 'node:timers/promises';

/** The core of what is measured, and the core of all the rest; undefined on a machine with one: nothing is pinned. */
export const CORES = availableParallelism() > 1 ? { proxy: 0, rest: 1 } : undefined;

export type Place = 'proxy' | 'rest';

/** Starts a program on its core. What it writes on stderr is kept for `exitMessage`. */
export function start(place: Place, command: readonly string[], options: SpawnOptions = {}): ChildProcess {
  const pinned = CORES ? ['taskset', '-c', String(CORES[place]), ...command] : [...command];
  const [program = '', ...args] = pinned;
  return spawn(program, args, options);
}

const STOP_MS = 10_000;

/** Ends a process that we started, by force where it does not end by itself. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const patience = new AbortController();
  const late = setTimeout(STOP_MS, 'late', { signal: patience.signal }).catch(() => 'ended');
  if ((await Promise.race([ended, late])) === 'late') child.kill('SIGKILL');
  await ended;
  patience.abort();
}

/** A port on the loopback address that was free a moment ago: for programs that cannot choose one themselves. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('The loopback address gives no port.');
  return address.port;
}

/** CPU time, in microseconds, that the process `root` and all its descendants have used, those that have ended too. */
export function cpuMicroseconds(root: number): number {
  const parents = new Map<number, number[]>();
  const used = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    const stat = Number.isInteger(pid) && readStat(pid);
    if (!stat) continue;
    used.set(pid, stat.ticks);
    parents.set(stat.parent, [...(parents.get(stat.parent) ?? []), pid]);
  }
  let ticks = 0;
  const open = [root];
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    ticks += used.get(pid) ?? 0;
    open.push(...(parents.get(pid) ?? []));
  }
  return ticks * MICROSECONDS_PER_TICK;
}

/** The process that descends from `root` whose command line holds `part`. Throws where there is none. */
export function descendant(root: number, part: string): number {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const stat = Number.isInteger(Number(name)) && readStat(Number(name));
    if (stat) parents.set(Number(name), stat.parent);
  }
  const isBelow = (pid: number | undefined): boolean =>
    pid !== undefined && (pid === root || isBelow(parents.get(pid)));
  const found = [...parents.keys()].filter((pid) => isBelow(pid) && commandLine(pid).includes(part));
  const [pid] = found.filter((each) => !found.some((other) => parents.get(other) === each)); // not what stands around it
  if (pid === undefined) throw new Error(`No process of ${root} runs ${part}.`);
  return pid;
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return ''; // it has ended
  }
}

/** What a process has in memory now (VmRSS), or had at most (VmHWM), in KB. */
export function residentKb(pid: number, which: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(new RegExp(`^${which}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
}

/** USER_HZ is 100 on every architecture that Linux runs Node on (proc(5)). */
const MICROSECONDS_PER_TICK = 10_000;

function readStat(pid: number): { parent: number; ticks: number } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined; // it has ended
  }
  // After the name, which may hold anything: state, parent, ... utime, stime, cutime, cstime are fields 14 to 17.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return { parent: Number(fields[1]), ticks };
}
