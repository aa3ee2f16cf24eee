import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { SallyportError } from '../../errors.ts';
import { IDENTITIES } from '../identity.ts';
import type { IsolationChoice } from '../options.ts';
import { bubblewrap, bubblewrapTrial } from './bubblewrap.ts';
import { type Ground, type Isolation, nodeFlags, PROGRAM, seenAt } from './isolation.ts';
import { unreadableCopy } from './unreadable-copy.ts';
import { asUser, MOUNT_TRIAL, nobody, separateUsers } from './users.ts';

/**
 * Chooses how the processes are kept from each other: `uid` where root starts us, else bubblewrap, else an unreadable
 * copy of node. Throws isolation_unavailable where the wish cannot be met, or nothing can (unless told `none`).
 */
export function chooseIsolation(choice: IsolationChoice, ground: Ground): Isolation {
  const root = process.getuid?.() === 0;
  if (choice === 'none') return plain('none', ground, ground.node);
  if (choice === 'uid' || (choice === 'auto' && root)) {
    if (!root) throw unavailable('uid', 'only root can start processes as other users');
    return users(ground);
  }
  if (choice === 'bubblewrap' || choice === 'auto') {
    if (works('bwrap', bubblewrapTrial(root)) && (!root || works('setpriv', ['--version']))) {
      return bubblewrap(ground, root);
    }
    if (choice === 'bubblewrap')
      throw unavailable('bubblewrap', 'bwrap is missing or may not make namespaces here');
  }
  return plain('copy', ground, unreadableCopy(ground.data));
}

function users(ground: Ground): Isolation {
  if (!works('setpriv', ['--version'])) throw unavailable('uid', 'setpriv (package util-linux) is missing');
  const mounts = works('unshare', MOUNT_TRIAL);
  const folder = join(ground.data, 'vault');
  if (!mounts && !works('setpriv', [...asUser(nobody(IDENTITIES.vault)), '--', 'test', '-w', folder])) {
    const why = `this root may not make mount namespaces, and ${folder} lies below folders closed to user ${IDENTITIES.vault} (put the data folder elsewhere, or open them)`;
    throw unavailable('uid', why);
  }
  return separateUsers(ground, unreadableCopy(ground.data), mounts);
}

/** All as the user that started us, by `node`: in the copy that is what keeps them from each other's memory. */
function plain(name: 'none' | 'copy', { node, program, data }: Ground, guarded: string): Isolation {
  return {
    name,
    vaultFolder: join(data, 'vault'),
    passesProgram: true,
    passedNode: undefined,
    uid: () => process.getuid?.() ?? -1,
    command: (kind, entry, args) => ({
      file: guarded === node ? seenAt(PROGRAM, program, node) : guarded,
      args: [...nodeFlags(kind), `${PROGRAM}/${entry}`, ...args],
      reportsPid: false,
    }),
  };
}

function unavailable(choice: string, why: string): SallyportError {
  return new SallyportError(
    'isolation_unavailable',
    `The processes cannot be isolated by ${choice}: ${why}. Choose another --isolation, or none for a trial.`,
  );
}

function works(file: string, args: readonly string[]): boolean {
  return spawnSync(file, args, { stdio: 'ignore', timeout: 10_000 }).status === 0;
}
