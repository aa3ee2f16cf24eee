import { readdir } from 'node:fs/promises';

/** A journal in its folder. `start`: when its process was started, as the journal's own time stamps are written. */
export interface JournalFile {
  readonly fileName: string;
  readonly start: string;
  /** The process's name, such as "vault-1" or "worker-1-3". */
  readonly process: string;
  /** Whether the vault writes it: heads and checkpoints count only there. */
  readonly vault: boolean;
}

const NAME = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z-([a-z]+(?:-\d+)*)\.ndjson$/;

/** The file name of the journal of the process `name` started at `start`: `20261124T182726123Z-worker-1-3.ndjson`. */
export function journalFileName(start: Date, name: string): string {
  const fileName = `${start.toISOString().replace(/[-:.]/g, '')}-${name}.ndjson`;
  if (!NAME.test(fileName)) throw new TypeError(`"${name}" cannot name a journal.`);
  return fileName;
}

/** Reads a journal's file name back; undefined for a file that is none. */
export function parseJournalFileName(fileName: string): JournalFile | undefined {
  const match = NAME.exec(fileName);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second, ms, process = ''] = match;
  const start = `${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`;
  return { fileName, start, process, vault: /^vault(-|$)/.test(process) };
}

/** The journals in `folder`, oldest first; other files are passed over. Throws what readdir throws. */
export async function listJournals(folder: string): Promise<JournalFile[]> {
  const files: JournalFile[] = [];
  for (const name of await readdir(folder)) {
    const file = parseJournalFileName(name);
    if (file) files.push(file);
  }
  return files.sort((a, b) => (a.fileName < b.fileName ? -1 : 1));
}
