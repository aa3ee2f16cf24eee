import { join } from 'node:path';
import { type Ground, type Isolation, nodeFlags, seenAt, VAULT_MOUNT } from './isolation.ts';
import { asUser, userOf } from './users.ts';

const NAMESPACES = ['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'];
const PROGRAM_MOUNT = '/sallyport';
/** What there is of the program in its folder, where a data folder may lie too. */
const PROGRAM_PARTS = ['package.json', 'src', 'certs', 'dist', 'node_modules'];

/** Arguments with which bwrap shows whether it works here. */
export function bubblewrapTrial(root: boolean): string[] {
  return [...namespaces(root), '--ro-bind', '/', '/', '--', 'true'];
}

/**
 * A pid namespace and an own, almost empty view of the files: system libraries, name resolution, the program. A worker
 * sees no other process, no data folder, and holds no folder's descriptor; vault and keyholder reach theirs through
 * descriptor 4. In a user namespace, or as users of their own where root starts us: root's number would open what is
 * root's in the view.
 */
export function bubblewrap(ground: Ground, root: boolean): Isolation {
  const { node, program, data } = ground;
  const views = ['/usr', '/lib', '/lib64', '/bin', '/etc'].map((path) => [path, path]);
  const parts = PROGRAM_PARTS.map((name) => [join(program, name), `${PROGRAM_MOUNT}/${name}`]);
  const inner = seenAt(PROGRAM_MOUNT, program, node);
  const seen = [...views, ...parts, ...(inner === node ? [[node, node]] : [])];
  return {
    name: 'bubblewrap',
    vaultFolder: VAULT_MOUNT,
    passesProgram: false,
    passedNode: undefined,
    uid: (kind) => (root ? userOf(kind, ground).uid : (process.getuid?.() ?? -1)),
    command: (kind, entry, args) => ({
      file: 'bwrap',
      args: [
        ...namespaces(root),
        ...['--as-pid-1', '--die-with-parent', '--new-session', '--info-fd', '6'],
        ...['--proc', '/proc', '--dev', '/dev', '--tmpfs', '/tmp'],
        ...seen.flatMap((paths) => ['--ro-bind-try', ...paths]),
        ...['--chmod', '0755', PROGRAM_MOUNT], // our umask would close it to other users
        ...(kind === 'vault' ? ['--bind', join(data, 'vault'), VAULT_MOUNT] : []),
        ...['--chdir', '/', '--'],
        // Changing the user undoes --die-with-parent.
        ...(root ? ['setpriv', ...asUser(userOf(kind, ground)), '--pdeathsig', 'KILL', '--'] : []),
        ...[inner, ...nodeFlags(kind), `${PROGRAM_MOUNT}/${entry}`, ...args],
      ],
      reportsPid: true,
    }),
  };
}

function namespaces(root: boolean): string[] {
  return root ? NAMESPACES : ['--unshare-user', ...NAMESPACES];
}
