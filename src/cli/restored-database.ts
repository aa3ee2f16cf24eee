import { createReadStream, createWriteStream, existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { openWritable } from '../store/open.ts';
import type { CheckedBackup } from './backup-read.ts';

/** SQLite's: of the database, its write-ahead log, and the memory shared over it. */
const SUFFIXES = ['', '-wal', '-shm'];

/** Beside the old one, which gets a dated name, then in its place. Answers that name. Throws store_*. */
export async function placeDatabase(folder: string, backup: CheckedBackup): Promise<string | null> {
  const database = join(folder, 'sallyport.db');
  const fresh = `${database}.restored`;
  for (const suffix of SUFFIXES) rmSync(`${fresh}${suffix}`, { force: true });
  try {
    const end = backup.databaseAt + backup.manifest.database.bytes - 1;
    await pipeline(
      createReadStream(backup.file, { start: backup.databaseAt, end }),
      createWriteStream(fresh, { flags: 'wx', mode: 0o600, flush: true }),
    );
    const store = await openWritable(fresh);
    try {
      // Without the record of its state the vault knows that this is a backup, and waits for it to be accepted.
      await store.db.deleteFrom('state').execute();
    } finally {
      store.close();
    }
    const kept = setAside(database); // its log too, which would be taken for the new one's
    renameSync(fresh, database);
    return kept;
  } catch (error) {
    for (const suffix of SUFFIXES) rmSync(`${fresh}${suffix}`, { force: true });
    throw error;
  }
}

/** With its write-ahead log, which may hold what a killed vault wrote last. Killed half-way it leaves no database rather than half of one. */
function setAside(database: string): string | null {
  const time = new Date().toISOString().replace(/[-:.]/g, '');
  const kept = `${database}.before-${time}`;
  const there = SUFFIXES.filter((suffix) => existsSync(`${database}${suffix}`));
  for (const suffix of there) renameSync(`${database}${suffix}`, `${kept}${suffix}`);
  return there.includes('') ? kept : null;
}
