import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { invalidBackup } from '../backup/format.ts';
import { PIN_ENTRY, type TokenFile } from '../backup/seal-token.ts';
import { SallyportError } from '../errors.ts';
import { assignOwnership } from '../supervisor/identity.ts';
import type { Installation } from '../supervisor/installation.ts';
import type { CheckedBackup } from './backup-read.ts';
import { installationOf, openedToken } from './backup-token.ts';
import { moduleEnvironment } from './module-environment.ts';
import { proveToken } from './prove-token.ts';
import type { TokenFlags } from './provision.ts';
import { placeDatabase } from './restored-database.ts';
import { writeTokenFolder } from './token-folder.ts';

export interface RestoreOptions extends TokenFlags {
  readonly auditKey?: string;
  readonly pinFile?: string;
  readonly passphraseFile?: string;
}

/**
 * Makes the data folder anew, in an empty one or where none is; where anything fails nothing is left. Answers whether the token came
 * from the backup. Throws backup_invalid, data_folder_exists, data_folder_unsafe, invalid_argument, already_exists, hsm_*.
 */
export async function remakeDataFolder(
  data: string,
  backup: CheckedBackup,
  options: RestoreOptions,
): Promise<{ readonly token: boolean }> {
  const empty = isEmptyFolder(data);
  const installation = chosenToken(installationOf(backup.manifest), options);
  const files = tokenOf(backup, installation, options);
  const undo: (() => void)[] = [];
  const folder = empty ? join(data, '.restoring') : `${data}.restoring`;
  try {
    if (files) await proveToken(files, installation);
    mkdirSync(dirname(folder), { recursive: true, mode: 0o700 });
    mkdirSync(folder, { mode: 0o700 });
    undo.push(() => rmSync(folder, { recursive: true, force: true }));
    for (const name of ['vault', 'token', 'journal', 'ca']) mkdirSync(join(folder, name), { mode: 0o700 });
    await placeDatabase(join(folder, 'vault'), backup);
    const pinFile = files
      ? placeToken(data, join(folder, 'token'), files, options.pinFile ?? installation.pinFile, undo)
      : pinFileOf(options, installation);
    const text = `${JSON.stringify({ ...installation, pinFile }, null, 2)}\n`;
    writeFileSync(join(folder, 'sallyport.json'), text, { mode: 0o600 });
    assignOwnership(folder);
    if (empty) moveInto(data, folder, undo);
    else renameSync(folder, data);
    return { token: files !== undefined };
  } catch (error) {
    for (const step of undo.reverse()) step();
    if (error instanceof SallyportError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    const message = `${data} cannot be made (${why}): nothing was left behind.`;
    throw new SallyportError('data_folder_unsafe', message, { cause: error });
  } finally {
    for (const { bytes } of files ?? []) bytes.fill(0);
  }
}

/** False where nothing is there. Throws data_folder_exists where something is in it, data_folder_unsafe where it is somebody else's. */
function isEmptyFolder(data: string): boolean {
  const info = lstatSync(data, { throwIfNoEntry: false });
  if (!info) return false;
  if (info.isDirectory() && readdirSync(data).length === 0) {
    if (info.uid === process.getuid?.()) return true;
    const message = `The folder ${data} belongs to user ${info.uid}: restore as its owner, who will run serve.`;
    throw new SallyportError('data_folder_unsafe', message);
  }
  const message = `${data} is there, but no data folder of Sallyport: move it away, or name another with --data.`;
  throw new SallyportError('data_folder_exists', message);
}

/** The folder that is there may be a mount: it is filled, what makes it a data folder last. */
function moveInto(data: string, folder: string, undo: (() => void)[]): void {
  chmodSync(data, 0o700);
  const names = readdirSync(folder).sort(
    (a, b) => Number(a === 'sallyport.json') - Number(b === 'sallyport.json'),
  );
  for (const name of names) {
    renameSync(join(folder, name), join(data, name));
    undo.push(() => rmSync(join(data, name), { recursive: true, force: true }));
  }
  rmdirSync(folder);
}

/** The installation with the token that is there now: a clone may have another label or serial number, its library another place. */
function chosenToken(installation: Installation, options: RestoreOptions): Installation {
  const { pkcs11Module, pkcs11Token, pkcs11Serial } = options;
  const module = pkcs11Module === undefined ? installation.pkcs11Module : resolve(pkcs11Module);
  if (pkcs11Token === undefined && installation.ownToken) {
    if (pkcs11Serial === undefined) return { ...installation, pkcs11Module: module };
    const message = 'Name the label of the token with that serial number, with --pkcs11-token.';
    throw new SallyportError('invalid_argument', message);
  }
  if (pkcs11Module === undefined && pkcs11Token === undefined && pkcs11Serial === undefined)
    return installation;
  return {
    ...installation,
    ownToken: false,
    pkcs11Module: module,
    pkcs11Token: pkcs11Token ?? installation.pkcs11Token,
    // Another token by that label has another serial number.
    pkcs11Serial: pkcs11Serial ?? (pkcs11Token === undefined ? installation.pkcs11Serial : null),
    moduleEnvironment: { ...installation.moduleEnvironment, ...moduleEnvironment() },
  };
}

/** The token's files, where it is the one in the backup; undefined where it is one that was given. */
function tokenOf(
  backup: CheckedBackup,
  { ownToken }: Installation,
  { auditKey, passphraseFile }: RestoreOptions,
): TokenFile[] | undefined {
  if (ownToken && backup.manifest.token) return openedToken(backup, passphraseFile);
  if (ownToken) {
    throw invalidBackup(
      'it holds no token, and the data folder with its token is gone: nothing would open, unless --pkcs11-token names a copy of it',
    );
  }
  if (passphraseFile !== undefined) {
    const message =
      'No token is taken from the backup that a passphrase would open: leave --passphrase-file out.';
    throw new SallyportError('invalid_argument', message);
  }
  if (auditKey !== undefined) return undefined;
  const message =
    'Nothing here says whose backup this is: name the audit key that "backup create" showed with --audit-key.';
  throw new SallyportError('invalid_argument', message);
}

function pinFileOf({ pinFile }: RestoreOptions, installation: Installation): string | null {
  return pinFile === undefined ? installation.pinFile : resolve(pinFile);
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
