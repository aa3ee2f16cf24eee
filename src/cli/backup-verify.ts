import { existsSync } from 'node:fs';
import { SallyportError } from '../errors.ts';
import { type BackupReport, type CheckedBackup, knownAuditKey, readBackup, report } from './backup-read.ts';
import { installationOf, openedToken } from './backup-token.ts';
import type { Context } from './context.ts';
import { proveToken } from './prove-token.ts';

export interface VerifyOptions {
  readonly auditKey?: string;
  readonly passphraseFile?: string;
}

/**
 * Checks a backup by the given audit key, else the data folder's; and its token, where the passphrase is given. Throws backup_invalid,
 * invalid_argument, hsm_pin_wrong.
 */
export async function verifyBackup(
  context: Context,
  file: string,
  { auditKey, passphraseFile }: VerifyOptions,
): Promise<BackupReport> {
  const trusted = auditKey ?? knownAuditKey(context);
  const backup = await readBackup(file, trusted);
  const found = report(backup, trusted);
  return passphraseFile === undefined
    ? found
    : { ...found, tokenChecked: await checkToken(backup, passphraseFile) };
}

async function checkToken(backup: CheckedBackup, passphraseFile: string): Promise<'opens' | 'proven'> {
  if (!backup.manifest.token) {
    const message = 'The backup holds no token that a passphrase would open: leave --passphrase-file out.';
    throw new SallyportError('invalid_argument', message);
  }
  const installation = installationOf(backup.manifest);
  const files = openedToken(backup, passphraseFile);
  try {
    if (!existsSync(installation.pkcs11Module)) return 'opens'; // no SoftHSM here to log in with
    await proveToken(files, installation);
    return 'proven';
  } finally {
    for (const { bytes } of files) bytes.fill(0);
  }
}
