import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SallyportError } from '../errors.ts';
import { createStore } from '../store/open.ts';
import { assignOwnership } from '../supervisor/identity.ts';
import type { Installation } from '../supervisor/installation.ts';
import { choosePin, type PinFlags } from './pin.ts';
import { chooseToken, provision, type TokenFlags } from './provision.ts';

export interface InitFlags extends TokenFlags, PinFlags {
  /** Where the keys of authorities are made. */
  readonly authorityKeys?: Installation['authorityKeys'];
}

/** What `init` reports. */
export interface DataFolder {
  readonly data: string;
  readonly module: string;
  readonly token: string;
  readonly pinFile: string | null;
  /** Where the newest state is anchored. */
  readonly anchor: Installation['anchor'];
}

/**
 * Makes the data folder beside its final place and moves it there at the end, so that there is a whole one or none;
 * where anything fails, everything that was made is taken away again. Throws data_folder_exists, data_folder_unsafe,
 * already_exists (the PIN's file), and what the token answers (hsm_*).
 */
export async function createDataFolder(data: string, flags: InitFlags): Promise<DataFolder> {
  const token = chooseToken(flags);
  const undo: (() => void)[] = [];
  try {
    refuseExisting(data);
    const folder = makeSibling(data, undo);
    for (const name of ['vault', 'token', 'journal', 'ca']) mkdirSync(join(folder, name), { mode: 0o700 });
    const pin = choosePin(data, flags, token.own, undo);
    await createStore(join(folder, 'vault', 'sallyport.db'));
    // Last, since keys made in somebody's HSM are all that could not be taken away again.
    const keys = await provision(token, join(folder, 'token'), pin.descriptor);
    const installation: Installation = {
      format: 1,
      pkcs11Module: token.module,
      pkcs11Token: token.label,
      pkcs11Serial: token.serial,
      ownToken: token.own,
      moduleEnvironment: token.environment,
      pinFile: pin.file,
      authorityKeys: flags.authorityKeys ?? 'wrapped',
      anchor: keys.anchor,
      intakePublicKey: keys.intakePublicKey,
      auditPublicKey: keys.auditPublicKey,
    };
    writeFileSync(join(folder, 'sallyport.json'), `${JSON.stringify(installation, null, 2)}\n`, {
      mode: 0o600,
    });
    assignOwnership(folder);
    renameSync(folder, data);
    pin.close();
    return { data, module: token.module, token: token.label, pinFile: pin.file, anchor: keys.anchor };
  } catch (error) {
    for (const step of undo.reverse()) step();
    throw error instanceof SallyportError ? error : unusable(data, error);
  }
}

function refuseExisting(data: string): void {
  if (lstatSync(data, { throwIfNoEntry: false }) === undefined) return;
  throw new SallyportError(
    'data_folder_exists',
    `${data} is there already: use it, remove it, or name another with --data.`,
  );
}

/** Makes a folder next to `data`, and the folders above where they are missing; `undo` learns how to remove them. */
function makeSibling(data: string, undo: (() => void)[]): string {
  const parent = dirname(data);
  const umask = process.umask(0o077);
  undo.push(() => process.umask(umask));
  const firstMade = existsSync(parent) ? undefined : mkdirSync(parent, { recursive: true });
  if (firstMade !== undefined) undo.push(() => rmSync(firstMade, { recursive: true, force: true }));
  const folder = mkdtempSync(join(parent, `.${basename(data)}-`));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o700);
  return folder;
}

function unusable(data: string, cause: unknown): SallyportError {
  const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
  const hint =
    why === 'EACCES' || why === 'EPERM' || why === 'EROFS'
      ? 'this user may not write there; name another folder with --data'
      : 'nothing was left behind';
  return new SallyportError('data_folder_unsafe', `${data} cannot be created (${why}): ${hint}.`, { cause });
}
