import { accessSync, closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { SallyportError } from '../errors.ts';
import { allocateSecret } from '../secret-buffer.ts';

/** A private key in PEM has a few kilobytes. */
const MAX_BYTES = 64 * 1024;

/**
 * Reads secrets that the operator keeps in files, lends them to `use` and wipes them: the supervisor passes them on and
 * holds none. Throws invalid_settings where one cannot be read.
 */
export async function withSecrets<T>(
  files: readonly string[],
  use: (secrets: readonly Buffer[]) => Promise<T>,
): Promise<T> {
  const secrets: Buffer[] = [];
  try {
    for (const file of files) secrets.push(readSecret(file));
    return await use(secrets);
  } finally {
    for (const secret of secrets) secret.fill(0);
  }
}

function readSecret(file: string): Buffer {
  try {
    const opened = openSync(file, 'r');
    try {
      const { size } = fstatSync(opened);
      if (size > MAX_BYTES) throw new Error('it is too large');
      const secret = allocateSecret(size);
      let length = 0;
      for (let read = -1; read !== 0 && length < size; length += read) {
        read = readSync(opened, secret, length, size - length, null);
      }
      return secret.subarray(0, length);
    } finally {
      closeSync(opened);
    }
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new SallyportError('invalid_settings', `The file ${file} cannot be read (${why}).`, { cause });
  }
}

/** Throws hsm_pin_missing where the PIN's file cannot be read by whoever starts serve. */
export function checkPinFile(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (cause) {
    const message = `The PIN file ${path} cannot be read: name it with --pin-file.`;
    throw new SallyportError('hsm_pin_missing', message, { cause });
  }
}
