import { timingSafeEqual } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { promptSecret, readSecret } from './secret-input.ts';

/**
 * The passphrase of a backup's token: from a file, the terminal (`twice`: asked again) or standard input. The caller
 * wipes it. Throws invalid_argument, invalid_credential.
 */
export function readPassphrase(file: string | undefined, twice: boolean): Buffer {
  if (file !== undefined || !process.stdin.isTTY) return readSecret(file);
  const passphrase = promptSecret('Passphrase of the token in the backup');
  if (!twice) return passphrase;
  const again = promptSecret('The same passphrase again');
  try {
    if (again.length === passphrase.length && timingSafeEqual(again, passphrase)) return passphrase;
    passphrase.fill(0);
    throw new SallyportError('invalid_argument', 'The two passphrases differ: nothing was done.');
  } finally {
    again.fill(0);
  }
}
