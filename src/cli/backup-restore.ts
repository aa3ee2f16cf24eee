import {
  closeSync,
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { invalidBackup, type Manifest } from '../backup/format.ts';
import { openToken, PIN_ENTRY, type TokenFile } from '../backup/seal-token.ts';
import { SallyportError } from '../errors.ts';
import { openWritable } from '../store/open.ts';
import { checkDataFolder, lockDataFolder, readInstallation } from '../supervisor/data-folder.ts';
import { assignOwnership } from '../supervisor/identity.ts';
import { Installation } from '../supervisor/installation.ts';
import { type CheckedBackup, readBackup } from './backup-read.ts';
import type { Context } from './context.ts';
import { readPassphrase } from './passphrase.ts';
import { writeTokenFolder } from './token-folder.ts';

export interface RestoreOptions {
  readonly auditKey?: string;
  readonly pinFile?: string;
  readonly passphraseFile?: string;
}

export interface Restored {
  readonly data: string;
  readonly created: string;
  readonly state: Manifest['state'];
  /** Whether the token came from the backup too. */
  readonly token: boolean;
}

/**
 * Puts a backup back: only the database where the data folder is there (its vault stopped), else everything. The vault
 * then refuses the state until it is accepted. Throws backup_invalid, already_running, already_exists, invalid_argument,
 * data_folder_unsafe, store_*.
 */
export async function restoreBackup(
  context: Context,
  path: string,
  options: RestoreOptions,
): Promise<Restored> {
  const { data } = context;
  process.umask(0o077);
  const there = existsSync(join(data, 'sallyport.json'));
  const auditKey = there ? readInstallation(data).auditPublicKey : options.auditKey;
  const backup = await readBackup(path, auditKey);
  const { created, state, token } = backup.manifest;
  if (there) await replaceDatabase(data, backup);
  else await remake(data, backup, options);
  return { data, created, state, token: !there && token !== null };
}

async function replaceDatabase(data: string, backup: CheckedBackup): Promise<void> {
  checkDataFolder(data);
  const lock = await lockDataFolder(data);
  try {
    await placeDatabase(join(data, 'vault'), backup);
    assignOwnership(data);
  } finally {
    lock.close();
  }
}

/** Beside the old one, then in its place. */
async function placeDatabase(folder: string, backup: CheckedBackup): Promise<void> {
  const database = join(folder, 'sallyport.db');
  const fresh = `${database}.restored`;
  const remove = (path: string): void => {
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
  };
  remove(fresh);
  try {
    const end = backup.databaseAt + backup.manifest.database.bytes - 1;
    await pipeline(
      createReadStream(backup.file, { start: backup.databaseAt, end }),
      createWriteStream(fresh, { flags: 'wx', mode: 0o600, flush: true }),
    );
    const store = await openWritable(fresh);
    try {
      // Without the record of its state the vault knows that this is a backup, and waits for it to be accepted.
      await store.db.deleteFrom('state').execute();
    } finally {
      store.close();
    }
    remove(database); // its log would be taken for the new one's
    renameSync(fresh, database);
  } catch (error) {
    remove(fresh);
    throw error;
  }
}

/** Makes the data folder anew, beside its place; where anything fails nothing is left. */
async function remake(data: string, backup: CheckedBackup, options: RestoreOptions): Promise<void> {
  if (existsSync(data)) {
    const message = `${data} is there, but no data folder of Sallyport: move it away, or name another with --data.`;
    throw new SallyportError('data_folder_exists', message);
  }
  const { manifest } = backup;
  const installation = parseInstallation(manifest);
  const files = manifest.token ? openedToken(backup, options.passphraseFile) : undefined;
  if (!files && installation.ownToken)
    throw invalidBackup('it holds no token, and the data folder with its token is gone: nothing would open');
  if (!files && options.auditKey === undefined) {
    const message =
      'Nothing here says whose backup this is: name the audit key that "backup create" showed with --audit-key.';
    throw new SallyportError('invalid_argument', message);
  }
  const undo: (() => void)[] = [];
  const folder = `${data}.restoring`;
  try {
    mkdirSync(dirname(data), { recursive: true, mode: 0o700 });
    mkdirSync(folder, { mode: 0o700 });
    undo.push(() => rmSync(folder, { recursive: true, force: true }));
    for (const name of ['vault', 'token', 'journal', 'ca']) mkdirSync(join(folder, name), { mode: 0o700 });
    await placeDatabase(join(folder, 'vault'), backup);
    const pinFile = files
      ? placeToken(data, join(folder, 'token'), files, options.pinFile ?? installation.pinFile, undo)
      : (options.pinFile ?? installation.pinFile);
    const text = `${JSON.stringify({ ...installation, pinFile }, null, 2)}\n`;
    writeFileSync(join(folder, 'sallyport.json'), text, { mode: 0o600 });
    assignOwnership(folder);
    renameSync(folder, data);
  } catch (error) {
    for (const step of undo.reverse()) step();
    if (error instanceof SallyportError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new SallyportError(
      'data_folder_unsafe',
      `${data} cannot be made (${why}): nothing was left behind.`,
      {
        cause: error,
      },
    );
  } finally {
    for (const { bytes } of files ?? []) bytes.fill(0);
  }
}

function openedToken(backup: CheckedBackup, passphraseFile: string | undefined): TokenFile[] {
  const sealed = Buffer.alloc(backup.manifest.token?.bytes ?? 0);
  const descriptor = openSync(backup.file, 'r');
  try {
    readSync(descriptor, sealed, 0, sealed.length, backup.tokenAt);
  } finally {
    closeSync(descriptor);
  }
  const passphrase = readPassphrase(passphraseFile, false);
  try {
    return openToken(sealed, passphrase, backup.manifest.installation);
  } finally {
    passphrase.fill(0);
  }
}

/** Answers where the PIN is now. */
function placeToken(
  data: string,
  folder: string,
  files: readonly TokenFile[],
  given: string | null,
  undo: (() => void)[],
): string {
  const pin = files.find(({ name }) => name === PIN_ENTRY);
  if (!pin) throw invalidBackup('its token has no PIN');
  const pinFile = resolve(given ?? `${data}.pin`);
  if (!relative(data, pinFile).startsWith('..')) {
    const message = `The PIN must not lie beside the token: choose a --pin-file outside ${data}.`;
    throw new SallyportError('invalid_argument', message);
  }
  if (existsSync(pinFile)) {
    if (!readFileSync(pinFile).equals(pin.bytes)) {
      const message = `${pinFile} is there and holds another PIN: move it away, or name another file with --pin-file.`;
      throw new SallyportError('already_exists', message);
    }
  } else {
    mkdirSync(dirname(pinFile), { recursive: true, mode: 0o700 });
    writeFileSync(pinFile, pin.bytes, { mode: 0o400, flag: 'wx', flush: true });
    undo.push(() => rmSync(pinFile, { force: true }));
  }
  writeTokenFolder(folder, files);
  return pinFile;
}

function parseInstallation({ installation, auditPublicKey }: Manifest): Installation {
  try {
    const parsed = Installation.parse(JSON.parse(installation));
    if (parsed.auditPublicKey === auditPublicKey) return parsed;
  } catch (cause) {
    throw invalidBackup('what it says of the installation cannot be read', cause);
  }
  throw invalidBackup('it was signed by another HSM than its installation has');
}
