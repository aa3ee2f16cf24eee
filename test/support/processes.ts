import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

export interface Process {
  readonly pid: number;
  readonly uid: number;
  /** Its arguments, spaces between them. */
  readonly command: string;
}

/** Every living process below `pid`, itself left out. */
export function descendants(pid: number): Process[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const parent = /^\d+$/.test(name) ? parentOf(Number(name)) : undefined;
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found: Process[] = [];
  const waiting = [pid];
  for (let at = waiting.shift(); at !== undefined; at = waiting.shift()) {
    for (const child of children.get(at) ?? []) {
      waiting.push(child);
      const process = describe(child);
      if (process) found.push(process);
    }
  }
  return found;
}

/** False for a zombie too: it runs no more. */
export function isAlive(pid: number): boolean {
  return parentOf(pid) !== undefined;
}

/** Waits until `holds`; throws after `withinMs`. Resolves with the milliseconds that it took. */
export async function until(
  what: string,
  withinMs: number,
  holds: () => boolean | Promise<boolean>,
): Promise<number> {
  const began = performance.now();
  while (!(await holds())) {
    if (performance.now() - began > withinMs) throw new Error(`Not within ${withinMs} ms: ${what}.`);
    await delay(20);
  }
  return performance.now() - began;
}

/** proc(5): the name in the second field may hold spaces and parentheses. */
function parentOf(pid: number): number | undefined {
  const stat = tryRead(`/proc/${pid}/stat`);
  const [state, parent] = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? [];
  return parent === undefined || state === 'Z' || state === 'X' ? undefined : Number(parent);
}

function describe(pid: number): Process | undefined {
  const uid = /^Uid:\s+(\d+)/m.exec(tryRead(`/proc/${pid}/status`) ?? '')?.[1];
  const command = tryRead(`/proc/${pid}/cmdline`)?.replaceAll('\0', ' ').trim();
  return uid === undefined || command === undefined ? undefined : { pid, uid: Number(uid), command };
}

/** Undefined where the process has ended meanwhile. */
function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH'))
      return undefined;
    throw error;
  }
}
