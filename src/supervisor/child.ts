import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import type net from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { ChildKind, Isolation } from './isolation/isolation.ts';

/** A process that the supervisor started. */
export interface Child {
  readonly kind: ChildKind;
  readonly name: string;
  readonly uid: number;
  /** Of the process itself, also where bubblewrap stands around it. */
  readonly pid: number;
  readonly startedAt: number;
  /** Resolves once it is gone. */
  readonly gone: Promise<void>;
  signal(signal: NodeJS.Signals): void;
}

export interface ChildPlan {
  readonly kind: ChildKind;
  readonly name: string;
  readonly entry: string;
  readonly args: readonly string[];
  /** File for descriptor 0: the PIN for the keyholder (read only), the journal for the others (append only). */
  readonly input: { readonly path: string; readonly flags: number };
  readonly channel: net.Socket;
  readonly dataFolder: string | undefined;
  readonly programFolder: string;
  readonly environment: Readonly<Record<string, string>>;
}

export const READ_ONLY = constants.O_RDONLY;
/** A journal is opened here, so that a worker needs no folder; appending only, so that it cannot rewrite in place. */
export const JOURNAL = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_APPEND;

/**
 * Has glibc overwrite memory as it is freed. OpenSSL frees its record buffers unwiped, and an upstream that echoes the
 * credential leaves it there: 3 copies after 1,000 echoed requests, 0 with this (measured).
 */
const WIPE_FREED_MEMORY = { GLIBC_TUNABLES: 'glibc.malloc.perturb=90' };

/**
 * Starts a child with an otherwise empty environment (but what its PKCS#11 module needs) and exactly these descriptors:
 * 0 its file, 1 and 2 our stderr, 3 its channel, 4 its data folder, 5 the program's folder and 6 its Node where it needs
 * them. The channel's socket is ours no longer afterwards. Rejects with what open and spawn throw.
 */
export async function startChild(plan: ChildPlan, isolation: Isolation): Promise<Child> {
  const opened: number[] = [];
  const open = (path: string, flags: number): number => {
    const descriptor = openSync(path, flags, 0o600);
    opened.push(descriptor);
    return descriptor;
  };
  try {
    const folder = constants.O_RDONLY | constants.O_DIRECTORY;
    const { file, args, reportsPid } = isolation.command(plan.kind, plan.entry, plan.args);
    const input = open(plan.input.path, plan.input.flags);
    const data = plan.dataFolder === undefined ? 'ignore' : open(plan.dataFolder, folder);
    const program = isolation.passesProgram ? open(plan.programFolder, folder) : 'ignore';
    const { passedNode } = isolation;
    const sixth = reportsPid
      ? ['pipe' as const]
      : passedNode === undefined
        ? []
        : [open(passedNode, READ_ONLY)];
    const child = spawn(file, args, {
      cwd: '/',
      detached: reportsPid, // bubblewrap ends at a Ctrl-C, which reaches its whole group: we decide the order
      env: { ...WIPE_FREED_MEMORY, ...plan.environment },
      stdio: [input, 2, 2, plan.channel, data, program, ...sixth],
    });
    return await started(child, plan, isolation, reportsPid);
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
    plan.channel.destroy();
  }
}

async function started(
  child: ChildProcess,
  plan: ChildPlan,
  isolation: Isolation,
  reportsPid: boolean,
): Promise<Child> {
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  const streams: readonly unknown[] = child.stdio; // typed as five, whatever was asked for
  const info = streams[6];
  const pid = reportsPid && info instanceof Readable ? await innerPid(info, gone) : child.pid;
  return {
    kind: plan.kind,
    name: plan.name,
    uid: isolation.uid(plan.kind),
    pid: pid ?? child.pid ?? -1,
    startedAt: Date.now(),
    gone,
    signal: (signal) => {
      // Bubblewrap passes no signal on, but dies with all that it holds.
      if (signal === 'SIGKILL' || !reportsPid) child.kill(signal);
      else if (pid !== undefined) process.kill(pid, signal);
    },
  };
}

/**
 * Reads the pid that bubblewrap writes about the process inside (`{"child-pid": 123, …}`). It is read to its end, for
 * bubblewrap writes it in pieces: a pipe closed after the first would kill it before it let the process inside go.
 */
function innerPid(info: Readable, gone: Promise<void>): Promise<number | undefined> {
  let text = '';
  return new Promise((resolve) => {
    info.on('data', (chunk) => {
      text += String(chunk);
      const found = /"child-pid":\s*(\d+)/.exec(text)?.[1];
      if (found) resolve(Number(found));
    });
    info.once('error', () => resolve(undefined));
    void gone.then(() => resolve(undefined));
  });
}

export function journalPath(data: string, file: string): string {
  return join(data, 'journal', file);
}
