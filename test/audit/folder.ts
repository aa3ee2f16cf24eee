import { Buffer } from 'node:buffer';
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkpointMessage } from '../../src/audit/chain.ts';
import { journalFileName } from '../../src/audit/files.ts';
import { JournalWriter } from '../../src/audit/journal.ts';
import type { JournalRecord, RequestRecord } from '../../src/audit/record.ts';
import { timestamp } from '../../src/audit/timestamp.ts';

/** An audit key as the HSM would hold it, and its public point. */
export interface AuditKey {
  readonly privateKey: KeyObject;
  readonly point: Buffer;
}

export function auditKey(): AuditKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
  const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
  return { privateKey, point };
}

/** A folder of journals, written by the real writer, that a test may then tamper with. */
export class JournalFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'sallyport-journal-'));
  readonly #descriptors: number[] = [];

  open(process: string, start = new Date()): JournalWriter {
    const name = journalFileName(start, process);
    const fd = openSync(join(this.path, name), 'ax', 0o600);
    this.#descriptors.push(fd);
    return new JournalWriter(fd, name);
  }

  read(fileName: string): string {
    return readFileSync(join(this.path, fileName), 'latin1');
  }

  write(fileName: string, text: string): void {
    writeFileSync(join(this.path, fileName), text, 'latin1');
  }

  /** Replaces the file's lines by what `change` makes of them (each without its newline). */
  edit(fileName: string, change: (lines: string[]) => string[]): void {
    const lines = this.read(fileName).split('\n').slice(0, -1);
    this.write(
      fileName,
      change(lines)
        .map((line) => `${line}\n`)
        .join(''),
    );
  }

  remove(): void {
    for (const fd of this.#descriptors) closeSync(fd);
    rmSync(this.path, { recursive: true });
  }
}

export function requestRecord(id: number, fields: Partial<RequestRecord> = {}): RequestRecord {
  return {
    type: 'request',
    id,
    time: timestamp(),
    agent: 'agent-1',
    method: 'GET',
    host: 'api.example.com',
    port: 443,
    path: `/items/${id}`,
    service: 'example',
    credential: 'credential-1',
    version: 1,
    decision: 'injected',
    reason: 'grant-1',
    ...fields,
  };
}

/** Writes `records` as one batch. */
export async function writeBatch(writer: JournalWriter, ...records: JournalRecord[]): Promise<void> {
  for (const record of records) writer.append(record);
  await writer.flushed();
}

/** Records, in the vault's journal, where `writer` is. */
export async function writeHead(vault: JournalWriter, writer: JournalWriter): Promise<void> {
  await writeBatch(vault, { type: 'head', time: timestamp(), file: writer.fileName, ...writer.head });
}

/** Writes a checkpoint of the vault's journal up to here. */
export async function writeCheckpoint(vault: JournalWriter, { privateKey }: AuditKey): Promise<void> {
  const { head } = vault;
  const message = checkpointMessage(vault.fileName, head);
  const signature = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('hex');
  await writeBatch(vault, { type: 'checkpoint', time: timestamp(), ...head, signature });
}
