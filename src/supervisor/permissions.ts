import { lstatSync, realpathSync, type Stats, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { SallyportError } from '../errors.ts';
import { IDENTITIES } from './identity.ts';

/** Bits of a mode. */
const OPEN = 0o077;
const GROUP = 0o070;
const OTHERS = 0o007;
const WRITABLE_BY_OTHERS = 0o002;
const WRITABLE_BY_GROUP = 0o020;
const STICKY = 0o1000;

interface Entry {
  /** Relative to the data folder. */
  readonly name: string;
  readonly folder: boolean;
  /** The user of the process that it is for, where root starts us: it is given to that one at each start. */
  readonly user?: number;
  /** Absent is no matter here: whoever needs it says so. Open is odd only: the folder around it is closed. */
  readonly optional?: boolean;
}

const ENTRIES: readonly Entry[] = [
  { name: 'vault', folder: true, user: IDENTITIES.vault },
  { name: 'token', folder: true, user: IDENTITIES.keyholder },
  { name: 'journal', folder: true },
  { name: 'ca', folder: true, optional: true },
  { name: 'sallyport.json', folder: false, optional: true },
  { name: 'vault/sallyport.db', folder: false, user: IDENTITIES.vault, optional: true },
  { name: 'vault/sallyport.db-wal', folder: false, user: IDENTITIES.vault, optional: true },
  { name: 'token/softhsm2.conf', folder: false, user: IDENTITIES.keyholder, optional: true },
  { name: 'token/tokens', folder: true, user: IDENTITIES.keyholder, optional: true },
];

/**
 * Refuses what another user owns, could have prepared or can read in the data folder: `init` makes everything for its
 * owner alone. Returns what is odd, a sentence each. Throws data_folder_unsafe, with what to do.
 */
export function checkEntries(data: string): string[] {
  const odd: string[] = [];
  for (const { name, folder, user, optional } of ENTRIES) {
    const path = join(data, name);
    const info = lstatSync(path, { throwIfNoEntry: false });
    if (!info && optional) continue;
    const kind = folder ? 'folder' : 'file';
    const unsafe = (why: string): never => {
      throw new SallyportError('data_folder_unsafe', `The data folder ${data} ${why}.`);
    };
    if (!info || !(folder ? info.isDirectory() : info.isFile())) {
      return unsafe(`lacks its ${kind} ${name}, or it is not a ${kind}: put it back from a backup`);
    }
    const { uid, mode } = info;
    if (uid !== process.getuid?.() && !(process.getuid?.() === 0 && uid === user)) {
      unsafe(
        `has a ${kind} ${name} that belongs to user ${uid}: find out what was written there; if it is as it should be, run \`chown -R ${process.getuid?.()} ${path}\``,
      );
    }
    if ((mode & OPEN) === 0) continue;
    const open = `${kind} ${name} that is open to other users: run \`chmod ${folder ? '700' : '600'} ${path}\``;
    if (!optional) unsafe(`has a ${open}`);
    odd.push(`the data folder's own mode alone closes its ${open}`);
  }
  return odd;
}

/**
 * Looks at the folders above `data`, and at links on the way: whoever may write in one can put another folder in the place
 * of ours. Returns what is odd, a sentence each. Throws data_folder_unsafe where everybody may.
 */
export function checkParents(data: string): string[] {
  const odd: string[] = [];
  for (const folder of new Set([...above(data), ...above(realpathSync(data))])) {
    const info = statSync(folder);
    if ((info.mode & STICKY) === 0 && (info.mode & WRITABLE_BY_OTHERS) !== 0) {
      const message = `Everybody may write in ${folder}, and so put another folder in the place of ${data}: run \`chmod o-w ${folder}\`, or put the data folder elsewhere.`;
      throw new SallyportError('data_folder_unsafe', message);
    }
    const link = lstatSync(folder);
    if (!trusted(link) || !trusted(info)) {
      const uid = trusted(link) ? info.uid : link.uid;
      odd.push(`user ${uid} owns ${folder}, and may put another folder in the place of ${data}`);
    } else if ((info.mode & STICKY) === 0 && (info.mode & WRITABLE_BY_GROUP) !== 0) {
      odd.push(
        `group ${info.gid} may write in ${folder}, and so put another folder in the place of ${data}: run \`chmod g-w ${folder}\``,
      );
    }
  }
  return odd;
}

/**
 * Looks at who may read the PIN, and where it lies. Returns what is odd, a sentence each: containers are given secrets that
 * everybody in them may read. Throws hsm_pin_unsafe where everybody may write it, and where it lies in the data folder: a copy of
 * that must not have it.
 */
export function checkPinPermissions(pinFile: string, data: string): string[] {
  const unsafe = (why: string): never => {
    throw new SallyportError('hsm_pin_unsafe', `The PIN file ${pinFile} ${why}.`);
  };
  if (!relative(realpathSync(data), realpathSync(pinFile)).startsWith('..')) {
    unsafe(
      `lies in the data folder, whose copies must not hold it: move it out, and name it with --pin-file`,
    );
  }
  const info = statSync(pinFile);
  if (!info.isFile()) return []; // a pipe, say: whoever opened it knows who is at its other end
  if ((info.mode & WRITABLE_BY_OTHERS) !== 0) {
    unsafe(`may be exchanged by everybody: run \`chmod 400 ${pinFile}\``);
  }
  const odd: string[] = [];
  if ((info.mode & OTHERS) !== 0) {
    odd.push(`everybody may read the PIN file ${pinFile}: run \`chmod 400 ${pinFile}\``);
  } else if ((info.mode & GROUP) !== 0) {
    odd.push(`group ${info.gid} may use the PIN file ${pinFile}: run \`chmod 400 ${pinFile}\``);
  }
  if (!trusted(info)) {
    odd.push(`user ${info.uid} owns the PIN file ${pinFile}: run \`chown ${process.getuid?.()} ${pinFile}\``);
  }
  return odd;
}

function above(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [] : [parent, ...above(parent)];
}

/** Root could do anything anyway. */
function trusted({ uid }: Stats): boolean {
  return uid === 0 || uid === process.getuid?.();
}
