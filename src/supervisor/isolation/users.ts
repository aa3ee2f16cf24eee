import { join } from 'node:path';
import { IDENTITIES, type User } from '../identity.ts';
import {
  type ChildKind,
  type Ground,
  type Isolation,
  nodeFlags,
  PASSED_NODE,
  PROGRAM,
  VAULT_MOUNT,
} from './isolation.ts';

/** Whether this root may give a process mounts of its own. */
export const MOUNT_TRIAL: readonly string[] = ['--mount', '--propagation', 'private', 'true'];

/** Mounted by its path: a descriptor's link names another one where root is not the machine's (chroot, some containers). */
const MOUNT_AND_RUN = `mount --bind "$1" ${VAULT_MOUNT} && shift && exec "$@"`;

/**
 * The first setpriv has its capabilities until it runs what it was given, and with them it could read the file: what it
 * ran were dumpable (measured). So it runs another one, that has none.
 */
const AGAIN = ['setpriv', '--no-new-privs', '--pdeathsig', 'KILL', '--'];

/**
 * Each kind its own user, without capabilities and without a way to get any. `setpriv` rather than spawn's own `uid`
 * option, which leaves the bounding set full. The vault cannot walk to its folder, below folders that are root's alone:
 * with `mounts`, in a mount namespace of its own, it finds it at /mnt. Workers are one user, since only then may they
 * share a port: `node`, a file that none of these users may read, makes them undumpable, so that a captured one can
 * neither read nor trace another.
 */
export function separateUsers(ground: Ground, node: string, mounts: boolean): Isolation {
  const folder = join(ground.data, 'vault');
  return {
    name: 'uid',
    vaultFolder: mounts ? VAULT_MOUNT : folder,
    passesProgram: true,
    passedNode: node,
    uid: (kind) => userOf(kind, ground).uid,
    command: (kind, entry, args) => {
      const drop = [
        ...['setpriv', ...asUser(userOf(kind, ground)), '--', ...AGAIN],
        ...[PASSED_NODE, ...nodeFlags(kind), `${PROGRAM}/${entry}`, ...args],
      ];
      const mount = ['unshare', ...MOUNT_TRIAL.slice(0, -1), 'sh', '-c', MOUNT_AND_RUN, 'sh', folder];
      const [file = '', ...rest] = kind === 'vault' && mounts ? [...mount, ...drop] : drop;
      return { file, args: rest, reportsPid: false };
    },
  };
}

/** The user of a process where root starts us. */
export function userOf(kind: ChildKind, { keyholder }: Pick<Ground, 'keyholder'>): User {
  return kind === 'keyholder' ? keyholder : nobody(IDENTITIES[kind]);
}

/** In no group but one of its own number. */
export function nobody(id: number): User {
  return { uid: id, gid: id, groups: [] };
}

/** Arguments of setpriv that leave a process nothing but that user and its groups. */
export function asUser({ uid, gid, groups }: User): string[] {
  const supplementary = groups.length === 0 ? ['--clear-groups'] : ['--groups', groups.join(',')];
  const without = ['--no-new-privs', '--inh-caps=-all', '--bounding-set=-all'];
  return ['--reuid', String(uid), '--regid', String(gid), ...supplementary, ...without];
}
