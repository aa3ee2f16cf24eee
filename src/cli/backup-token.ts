import { closeSync, openSync, readSync } from 'node:fs';
import { invalidBackup, type Manifest } from '../backup/format.ts';
import { openToken, type TokenFile } from '../backup/seal-token.ts';
import { Installation } from '../supervisor/installation.ts';
import type { CheckedBackup } from './backup-read.ts';
import { readPassphrase } from './passphrase.ts';

/** The token in a backup, whose files the caller wipes. Throws backup_invalid, invalid_argument, invalid_credential. */
export function openedToken(backup: CheckedBackup, passphraseFile: string | undefined): TokenFile[] {
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

/** What the backup says of its installation. Throws backup_invalid. */
export function installationOf({ installation, auditPublicKey }: Manifest): Installation {
  try {
    const parsed = Installation.parse(JSON.parse(installation));
    if (parsed.auditPublicKey === auditPublicKey) return parsed;
  } catch (cause) {
    throw invalidBackup('what it says of the installation cannot be read', cause);
  }
  throw invalidBackup('it was signed by another HSM than its installation has');
}
