import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fingerprint, invalidBackup, type Manifest } from '../backup/format.ts';
import { SallyportError } from '../errors.ts';
import { checkDataFolder, lockDataFolder, readInstallation } from '../supervisor/data-folder.ts';
import { assignOwnership } from '../supervisor/identity.ts';
import { type CheckedBackup, readBackup } from './backup-read.ts';
import { type RestoreOptions, remakeDataFolder } from './backup-remake.ts';
import { openedToken } from './backup-token.ts';
import type { Context } from './context.ts';
import { placeDatabase } from './restored-database.ts';

export interface Restored {
  readonly data: string;
  readonly created: string;
  readonly state: Manifest['state'];
  /** Whether the token came from the backup too. */
  readonly token: boolean;
  /** Where the database is now that was there before; null where none was. */
  readonly kept: string | null;
  readonly fingerprint: string;
  /** Whether the key that signed it was known: from the data folder, or named. */
  readonly trusted: boolean;
}

/**
 * Puts a backup back: only the database where the data folder is there (its vault stopped), else everything. The vault
 * then refuses the state until it is accepted. Throws backup_invalid, already_running, already_exists, invalid_argument,
 * data_folder_unsafe, store_*, hsm_*.
 */
export async function restoreBackup(
  context: Context,
  path: string,
  options: RestoreOptions,
): Promise<Restored> {
  const { data } = context;
  process.umask(0o077);
  const there = existsSync(join(data, 'sallyport.json'));
  const backup = await readBackup(path, options.auditKey);
  const { created, state, auditPublicKey } = backup.manifest;
  const trusted = there || options.auditKey !== undefined;
  const about = { data, created, state, fingerprint: fingerprint(auditPublicKey), trusted };
  if (!there) return { ...about, ...(await remakeDataFolder(data, backup, options)), kept: null };
  refuseForFolder(data, backup, options);
  return { ...about, token: false, kept: await replaceDatabase(data, backup) };
}

/** Whatever would be passed over is refused: a folder that is there keeps its token, and where it finds it. */
function refuseForFolder(data: string, backup: CheckedBackup, options: RestoreOptions): void {
  const { auditPublicKey } = readInstallation(data);
  if (auditPublicKey !== backup.manifest.auditPublicKey)
    throw invalidBackup(
      `another HSM than this folder's signed it (audit key ${fingerprint(backup.manifest.auditPublicKey)})`,
    );
  const { pinFile, pkcs11Module, pkcs11Token, pkcs11Serial } = options;
  if ([pinFile, pkcs11Module, pkcs11Token, pkcs11Serial].some((flag) => flag !== undefined)) {
    const message = `${data} is there and keeps its token and its PIN file: leave those options out, or change them in its sallyport.json.`;
    throw new SallyportError('invalid_argument', message);
  }
  if (options.passphraseFile === undefined) return;
  if (!backup.manifest.token) {
    const message = 'The backup holds no token that a passphrase would open: leave --passphrase-file out.';
    throw new SallyportError('invalid_argument', message);
  }
  for (const { bytes } of openedToken(backup, options.passphraseFile)) bytes.fill(0);
}

async function replaceDatabase(data: string, backup: CheckedBackup): Promise<string | null> {
  checkDataFolder(data);
  const lock = await lockDataFolder(data);
  try {
    const kept = await placeDatabase(join(data, 'vault'), backup);
    assignOwnership(data);
    return kept;
  } finally {
    lock.close();
  }
}
