import { spawnSync } from 'node:child_process';
import { chownSync, existsSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SallyportError } from '../errors.ts';

/**
 * The users that the processes run as where `serve` is started by root: numbers that no distribution gives out
 * (between systemd's greeter range, to 60705, and its dynamic users, from 61184), so no account need be made.
 * Workers and exchangers may read nothing that belongs to the other two.
 */
export const IDENTITIES = { keyholder: 60801, vault: 60802, worker: 60803, exchanger: 60804 } as const;

/** A user as the kernel knows it. */
export interface User {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary ones. */
  readonly groups: readonly number[];
}

/** An existing user and its groups, as the system's databases (NSS) have it. Throws invalid_settings. */
export function namedUser(name: string): User {
  const [uid, gid, groups] = ['-u', '-g', '-G'].map((what) => {
    const { status, stdout } = spawnSync('id', [what, '--', name], { encoding: 'utf8', timeout: 10_000 });
    return status === 0 ? stdout.trim().split(' ').map(Number) : [];
  });
  if (uid?.[0] !== undefined && gid?.[0] !== undefined && groups) return { uid: uid[0], gid: gid[0], groups };
  const message = `There is no user ${name} for the keyholder: make it, or name another with --keyholder-user.`;
  throw new SallyportError('invalid_settings', message);
}

/** Folders of the data folder whose contents belong to one process alone. The rest stays with whoever ran `init`. */
const OWNED = [
  ['vault', IDENTITIES.vault],
  ['token', IDENTITIES.keyholder],
] as const;

/**
 * Gives `vault/` and `token/` of the data folder to their processes' users. Does nothing unless run by root.
 * Symbolic links are given themselves, never what they point to. Throws what chown throws.
 */
export function assignOwnership(dataFolder: string): void {
  if (process.getuid?.() !== 0) return;
  for (const [folder, id] of OWNED) {
    const path = join(dataFolder, folder);
    if (existsSync(path)) chownTree(path, id);
  }
}

function chownTree(path: string, id: number): void {
  const info = lstatSync(path);
  if (info.isSymbolicLink()) return;
  if (info.isDirectory()) for (const name of readdirSync(path)) chownTree(join(path, name), id);
  chownSync(path, id, id);
}
