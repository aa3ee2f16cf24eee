import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { SallyportError } from '../errors.ts';
import { IDENTITIES } from './identity.ts';
import type { IsolationChoice } from './options.ts';

export type ChildKind = 'vault' | 'keyholder' | 'worker' | 'exchanger';

/** Descriptors of every child: 3 the channel, 4 its data folder where it has one, 5 the program's folder. */
export const DATA_DESCRIPTOR = 4;
/** The program's folder for a child that gets it as descriptor 5, so that no folder above it need be readable. */
const PROGRAM = '/proc/self/fd/5';

export interface Isolation {
  readonly name: Exclude<IsolationChoice, 'auto'>;
  /** The vault's folder as the vault sees it: SQLite resolves every link, so descriptor 4 will not do for it. */
  readonly vaultFolder: string;
  /** Whether a child needs descriptor 5. Where it has a view of its own, a folder's descriptor would lead out of it. */
  readonly passesProgram: boolean;
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

/** Flags of every Node that the supervisor starts. SIGUSR1 would otherwise open the inspector (measured). */
const NODE_FLAGS = [
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

function nodeFlags(kind: ChildKind): readonly string[] {
  return kind === 'worker' ? [...NODE_FLAGS, WORKER_SEMI_SPACE] : NODE_FLAGS;
}

/** What an isolation is made from. */
export interface Ground {
  /** The Node to run, and the program's folder. */
  readonly node: string;
  readonly program: string;
  /** A token that was given to `init` stays readable to its owner only: there the keyholder keeps the caller's user. */
  readonly keyholderAsUs: boolean;
  /** The data folder. */
  readonly data: string;
}

/**
 * Chooses how the processes are kept from each other: `uid` where root starts us, else bubblewrap, else an unreadable
 * copy of node. Throws isolation_unavailable where the wish cannot be met, or nothing can (unless told `none`).
 */
export function chooseIsolation(choice: IsolationChoice, ground: Ground): Isolation {
  const root = process.getuid?.() === 0;
  if (choice === 'none') return plain('none', ground);
  if (choice === 'uid' || (choice === 'auto' && root)) {
    if (!root) throw unavailable('uid', 'only root can start processes as other users');
    if (!works('setpriv', ['--version'])) throw unavailable('uid', 'setpriv (package util-linux) is missing');
    return separateUsers(ground);
  }
  if (choice === 'bubblewrap' || choice === 'auto') {
    if (works('bwrap', [...NAMESPACES, '--ro-bind', '/', '/', '--', 'true'])) return bubblewrap(ground);
    if (choice === 'bubblewrap')
      throw unavailable('bubblewrap', 'bwrap is missing or may not make namespaces here');
  }
  return plain('copy', ground, unreadableCopy(ground.data));
}

function unavailable(choice: string, why: string): SallyportError {
  return new SallyportError(
    'isolation_unavailable',
    `The processes cannot be isolated by ${choice}: ${why}. Choose another --isolation, or none for a trial.`,
  );
}

/** `path` as a child sees it that has the program's folder at `mount`. */
function seenAt(mount: string, program: string, path: string): string {
  const inside = relative(program, path);
  return inside.startsWith('..') ? path : `${mount}/${inside}`;
}

function works(file: string, args: readonly string[]): boolean {
  return spawnSync(file, args, { stdio: 'ignore', timeout: 10_000 }).status === 0;
}

function plain(name: 'none' | 'copy', ground: Ground, guardedNode?: string): Isolation {
  const node = seenAt(PROGRAM, ground.program, ground.node);
  return {
    name,
    vaultFolder: join(ground.data, 'vault'),
    passesProgram: true,
    uid: () => process.getuid?.() ?? -1,
    command: (kind, entry, args) => ({
      file: kind === 'worker' ? node : (guardedNode ?? node),
      args: [...nodeFlags(kind), `${PROGRAM}/${entry}`, ...args],
      reportsPid: false,
    }),
  };
}

/** Exists on every Linux (FHS), and what lies there is of no use to the vault: its own folder is mounted over it. */
const VAULT_MOUNT = '/mnt';
/** Mounted by its path: a descriptor's link names another one where root is not the machine's (chroot, some containers). */
const MOUNT_AND_RUN = `mount --bind "$1" ${VAULT_MOUNT} && shift && exec "$@"`;

/**
 * Each kind its own user, without capabilities and without a way to get any. `setpriv` rather than spawn's own `uid`
 * option, which leaves the bounding set full. The vault cannot walk to its folder, below folders that are root's
 * alone: in a mount namespace of its own it finds it at /mnt.
 */
function separateUsers({ node, program, keyholderAsUs, data }: Ground): Isolation {
  const uid = (kind: ChildKind): number => (kind === 'keyholder' && keyholderAsUs ? 0 : IDENTITIES[kind]);
  const folder = join(data, 'vault');
  const mounts = works('unshare', ['--mount', '--propagation', 'private', 'true']);
  if (!mounts && !works('setpriv', [...asUser(uid('vault')), '--', 'test', '-w', folder])) {
    const why = `this root may not make mount namespaces, and ${folder} lies below folders closed to user ${uid('vault')} (put the data folder elsewhere, or open them)`;
    throw unavailable('uid', why);
  }
  return {
    name: 'uid',
    vaultFolder: mounts ? VAULT_MOUNT : folder,
    passesProgram: true,
    uid,
    command: (kind, entry, args) => {
      const drop = [
        ...['setpriv', ...asUser(uid(kind)), '--pdeathsig', 'KILL', '--'],
        ...[seenAt(PROGRAM, program, node), ...nodeFlags(kind), `${PROGRAM}/${entry}`, ...args],
      ];
      const mount = [
        'unshare',
        '--mount',
        '--propagation',
        'private',
        'sh',
        '-c',
        MOUNT_AND_RUN,
        'sh',
        folder,
      ];
      const [file = '', ...rest] = kind === 'vault' && mounts ? [...mount, ...drop] : drop;
      return { file, args: rest, reportsPid: false };
    },
  };
}

function asUser(uid: number): string[] {
  const id = String(uid);
  return [
    ...[
      '--reuid',
      id,
      '--regid',
      id,
      '--clear-groups',
      '--no-new-privs',
      '--inh-caps=-all',
      '--bounding-set=-all',
    ],
  ];
}

const NAMESPACES = [
  '--unshare-user',
  '--unshare-pid',
  '--unshare-ipc',
  '--unshare-uts',
  '--unshare-cgroup-try',
];

const PROGRAM_MOUNT = '/sallyport';
/** What there is of the program in its folder, where a data folder may lie too. */
const PROGRAM_PARTS = ['package.json', 'src', 'certs', 'dist', 'node_modules'];

/**
 * User and pid namespaces and an own, almost empty view of the files: system libraries, name resolution, the
 * program. A worker sees no data folder and holds no folder's descriptor; vault and keyholder reach theirs through
 * descriptor 4.
 */
function bubblewrap({ node, program, data }: Ground): Isolation {
  const views = ['/usr', '/lib', '/lib64', '/bin', '/etc'].map((path) => [path, path]);
  const parts = PROGRAM_PARTS.map((name) => [join(program, name), `${PROGRAM_MOUNT}/${name}`]);
  const inner = seenAt(PROGRAM_MOUNT, program, node);
  const seen = [...views, ...parts, ...(inner === node ? [[node, node]] : [])];
  return {
    name: 'bubblewrap',
    vaultFolder: VAULT_MOUNT,
    passesProgram: false,
    uid: () => process.getuid?.() ?? -1,
    command: (kind, entry, args) => ({
      file: 'bwrap',
      args: [
        ...NAMESPACES,
        ...['--as-pid-1', '--die-with-parent', '--new-session', '--info-fd', '6'],
        ...['--proc', '/proc', '--dev', '/dev', '--tmpfs', '/tmp'],
        ...seen.flatMap((paths) => ['--ro-bind-try', ...paths]),
        ...(kind === 'vault' ? ['--bind', join(data, 'vault'), VAULT_MOUNT] : []),
        ...['--chdir', '/', '--', inner, ...nodeFlags(kind), `${PROGRAM_MOUNT}/${entry}`, ...args],
      ],
      reportsPid: true,
    }),
  };
}

/**
 * Where neither is to be had: a process started from a file that its own user may execute but not read is not
 * dumpable, so processes of the same user can neither read nor trace it (measured). Files stay readable to a worker,
 * which is why `status` names this mode.
 */
function unreadableCopy(data: string): string {
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
