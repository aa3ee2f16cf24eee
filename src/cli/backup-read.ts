import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  type BackupPart,
  decodeHead,
  fingerprint,
  invalidBackup,
  MAX_HEAD_BYTES,
  type Manifest,
} from '../backup/format.ts';
import { SallyportError } from '../errors.ts';
import { readInstallation } from '../supervisor/data-folder.ts';
import type { Context } from './context.ts';

/** A backup whose signature and bytes have been checked. */
export interface CheckedBackup {
  /** Absolute path. */
  readonly file: string;
  readonly manifest: Manifest;
  /** Where the database and the sealed token begin. */
  readonly databaseAt: number;
  readonly tokenAt: number;
}

/** What `backup create` and `verify` report. */
export interface BackupReport {
  readonly file: string;
  readonly created: string;
  readonly version: string;
  readonly state: Manifest['state'];
  readonly holds: Manifest['holds'];
  readonly bytes: number;
  readonly token: boolean;
  /** What was seen of the token, where its passphrase was given: it opens, or is proven to have the PIN and the keys too. */
  readonly tokenChecked: 'opens' | 'proven' | null;
  readonly auditPublicKey: string;
  readonly fingerprint: string;
  /** Whether it was signed by the key that is known here. */
  readonly trusted: boolean;
}

/** The audit key of the data folder, where there is one. */
export function knownAuditKey(context: Context): string | undefined {
  if (!existsSync(join(context.data, 'sallyport.json'))) return undefined;
  return readInstallation(context.data).auditPublicKey;
}

export function report(
  { file, manifest, tokenAt }: CheckedBackup,
  trusted: string | undefined,
): BackupReport {
  const { created, version, state, holds, token, auditPublicKey } = manifest;
  return {
    ...{ file, created, version, state, holds },
    bytes: tokenAt + (token?.bytes ?? 0),
    token: token !== null,
    tokenChecked: null,
    auditPublicKey,
    fingerprint: fingerprint(auditPublicKey),
    trusted: trusted !== undefined,
  };
}

/**
 * Reads a backup to its end: signature (by `auditKey` where given, else by the key that it names itself), lengths and
 * hashes. Throws backup_invalid; invalid_argument where the file cannot be read.
 */
export async function readBackup(path: string, auditKey?: string): Promise<CheckedBackup> {
  const file = resolve(path);
  const { head, size } = await readStart(file);
  const { manifest, length } = decodeHead(head);
  if (auditKey !== undefined && auditKey.toLowerCase() !== manifest.auditPublicKey)
    throw invalidBackup(`another HSM signed it (audit key ${fingerprint(manifest.auditPublicKey)})`);
  const tokenAt = length + manifest.database.bytes;
  if (size !== tokenAt + (manifest.token?.bytes ?? 0))
    throw invalidBackup(`it has ${size} bytes, which is not what its manifest says`);
  await checkPart(file, length, manifest.database, 'database');
  if (manifest.token) await checkPart(file, tokenAt, manifest.token, 'token');
  return { file, manifest, databaseAt: length, tokenAt };
}

async function readStart(file: string): Promise<{ head: Buffer; size: number }> {
  try {
    const handle = await open(file, 'r');
    try {
      const { size } = await handle.stat();
      const head = Buffer.alloc(Math.min(size, MAX_HEAD_BYTES));
      const { bytesRead } = await handle.read(head, 0, head.length, 0);
      return { head: head.subarray(0, bytesRead), size };
    } finally {
      await handle.close();
    }
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new SallyportError('invalid_argument', `${file} cannot be read (${why}).`, { cause });
  }
}

async function checkPart(file: string, start: number, part: BackupPart, what: string): Promise<void> {
  const sum = createHash('sha256');
  for await (const chunk of createReadStream(file, { start, end: start + part.bytes - 1 })) sum.update(chunk);
  if (sum.digest('hex') !== part.sha256) throw invalidBackup(`its ${what} was altered`);
}
