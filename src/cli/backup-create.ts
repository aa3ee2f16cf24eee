import { hash } from 'node:crypto';
import { createWriteStream, existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { PIN_ENTRY, sealToken } from '../backup/seal-token.ts';
import { SallyportError } from '../errors.ts';
import { readInstallation } from '../supervisor/data-folder.ts';
import { type BackupReport, readBackup, report } from './backup-read.ts';
import type { Context } from './context.ts';
import { controlStream } from './control.ts';
import { readPassphrase } from './passphrase.ts';
import { proveToken } from './prove-token.ts';
import { readTokenFolder } from './token-folder.ts';

export interface CreateOptions {
  readonly withToken?: boolean;
  readonly pinFile?: string;
  readonly passphraseFile?: string;
}

/**
 * Has the running vault make a backup, adds the sealed token where asked to, and checks what was written before it
 * gets its name. Throws already_exists, invalid_argument, hsm_pin_missing, hsm_pin_wrong and what the vault refuses with.
 */
export async function createBackup(
  context: Context,
  path: string,
  options: CreateOptions,
): Promise<BackupReport> {
  const file = resolve(path);
  if (existsSync(file))
    throw new SallyportError('already_exists', `${file} is there already: choose another name.`);
  const installation = readFileSync(join(context.data, 'sallyport.json'), 'utf8');
  const { auditPublicKey } = readInstallation(context.data);
  // The token first: the store that is saved after it is at least as new as its anchor.
  const token = options.withToken === true ? await sealedToken(context, installation, options) : undefined;
  const part = token ? { bytes: token.length, sha256: hash('sha256', token, 'hex') } : null;
  const stream = await controlStream(context, 'POST', '/v1/backups', { installation, token: part });
  const partial = `${file}.partial`;
  try {
    const out = createWriteStream(partial, { flags: 'wx', mode: 0o600, flush: true });
    await pipeline(async function* () {
      yield* stream;
      if (token) yield token;
    }, out);
    const backup = await readBackup(partial, auditPublicKey);
    renameSync(partial, file);
    return report({ ...backup, file }, auditPublicKey);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EEXIST')
      throw new SallyportError('already_exists', `${partial} is there already: remove it.`, { cause: error });
    rmSync(partial, { force: true });
    if (error instanceof SallyportError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new SallyportError('invalid_argument', `${file} cannot be written (${why}).`, { cause: error });
  }
}

async function sealedToken(context: Context, installation: string, options: CreateOptions): Promise<Buffer> {
  const here = readInstallation(context.data);
  const pinFile = options.pinFile ?? here.pinFile;
  if (!here.ownToken) {
    const message =
      "The token is not one that init made: clone it with its vendor's tool, and leave --with-token out.";
    throw new SallyportError('invalid_argument', message);
  }
  const files = [
    ...(await readTokenFolder(join(context.data, 'token'))),
    { name: PIN_ENTRY, bytes: readPin(pinFile) },
  ];
  try {
    await proveToken(files, here).catch((cause: unknown) => {
      if (!(cause instanceof SallyportError) || cause.code !== 'hsm_pin_wrong') throw cause;
      const message = `The PIN in ${pinFile} is not the token's (it was tried on a copy): no backup was made, which would have been worthless. Name the right file with --pin-file.`;
      throw new SallyportError('hsm_pin_wrong', message, { cause });
    });
    const passphrase = readPassphrase(options.passphraseFile, true);
    try {
      return sealToken(files, passphrase, installation);
    } finally {
      passphrase.fill(0);
    }
  } finally {
    for (const { bytes } of files) bytes.fill(0);
  }
}

function readPin(file: string | null): Buffer {
  try {
    if (file !== null) return readFileSync(file);
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new SallyportError('hsm_pin_missing', `The PIN file ${file} cannot be read (${why}).`, { cause });
  }
  throw new SallyportError(
    'hsm_pin_missing',
    "The token's PIN belongs to it: name its file with --pin-file.",
  );
}
