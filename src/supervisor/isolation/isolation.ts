import { relative } from 'node:path';
import type { User } from '../identity.ts';
import type { IsolationChoice } from '../options.ts';

export type ChildKind = 'vault' | 'keyholder' | 'worker' | 'exchanger';

/** The Node that it runs, where that is passed. */
export const PASSED_NODE = '/proc/self/fd/6';
/** The program's folder for a child that gets it as descriptor 5, so that no folder above it need be readable. */
export const PROGRAM = '/proc/self/fd/5';
/** Exists on every Linux (FHS), and what lies there is of no use to the vault: its own folder is mounted over it. */
export const VAULT_MOUNT = '/mnt';

export interface Isolation {
  readonly name: Exclude<IsolationChoice, 'auto'>;
  /** The vault's folder as the vault sees it: SQLite resolves every link, so descriptor 4 will not do for it. */
  readonly vaultFolder: string;
  /** Whether a child needs descriptor 5. Where it has a view of its own, a folder's descriptor would lead out of it. */
  readonly passesProgram: boolean;
  /** The file of the Node that children run, where they get it as descriptor 6 and by no path. */
  readonly passedNode: string | undefined;
  /** The user that a child of this kind runs as, seen from outside. */
  uid(kind: ChildKind): number;
  /** The command that runs the program's file `entry` (relative), isolated as this kind must be. */
  command(kind: ChildKind, entry: string, args: readonly string[]): Command;
}

export interface Command {
  readonly file: string;
  readonly args: string[];
  /** It writes the pid of the process inside to descriptor 6. */
  readonly reportsPid: boolean;
}

/** What an isolation is made from. */
export interface Ground {
  /** The Node to run, and the program's folder. */
  readonly node: string;
  readonly program: string;
  /** The keyholder's user where root starts us: of a token that was given to `init`, whoever may use that. */
  readonly keyholder: User;
  /** The data folder. */
  readonly data: string;
}

/** Flags of every Node that the supervisor starts. SIGUSR1 would otherwise open the inspector (measured). */
const NODE_FLAGS: readonly string[] = [
  '--disable-sigusr1',
  '--preserve-symlinks',
  '--preserve-symlinks-main',
  '--disable-warning=ExperimentalWarning',
];

/**
 * In MiB. Little that a worker makes lives long, so that V8's young generation need not be large: with its own limit
 * (16 here) a worker that carries large bodies holds 60 MB more that is dead already. What a request costs did not differ
 * measurably (bench/README.md); with 1, it did.
 */
export const WORKER_SEMI_SPACE = '--max-semi-space-size=2';

/**
 * What V8 frees is overwritten, as glibc does with what it frees: towards servers of HTTP/2 a credential is a string, and
 * of those that had grown old 25 to 123 stood in freed memory for good (measured).
 */
export const WORKER_CLEARS = '--clear-free-memory';

export function nodeFlags(kind: ChildKind): readonly string[] {
  return kind === 'worker' ? [...NODE_FLAGS, WORKER_SEMI_SPACE, WORKER_CLEARS] : NODE_FLAGS;
}

/** `path` as a child sees it that has the program's folder at `mount`. */
export function seenAt(mount: string, program: string, path: string): string {
  const inside = relative(program, path);
  return inside.startsWith('..') ? path : `${mount}/${inside}`;
}
