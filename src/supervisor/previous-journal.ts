import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Head } from '../audit/chain.ts';
import { listJournals } from '../audit/files.ts';
import { lastHead } from '../audit/last-head.ts';

/** A vault whose supervisor was killed ends within a second, and writes until then. */
const ORPHAN_MS = 3_000;
const LOOK_EVERY_MS = 50;

/** Where the journal of the vault before this one ends. */
export interface JournalEnd extends Head {
  readonly file: string;
}

/**
 * The end of the newest journal in `folder` that a vault wrote something into, once that vault is gone; null where there
 * is none. What the next vault records of it exposes a tail that is cut off later. Throws the system's errors.
 */
export async function previousJournal(folder: string): Promise<JournalEnd | null> {
  const journals = (await listJournals(folder)).filter(({ vault }) => vault).reverse();
  const [newest] = journals;
  const until = Date.now() + ORPHAN_MS;
  while (newest && isWritten(newest.fileName) && Date.now() < until) await delay(LOOK_EVERY_MS);
  for (const { fileName } of journals) {
    const head = lastHead(folder, fileName);
    if (head.link > 0) return { file: fileName, ...head };
  }
  return null;
}

/** Whether a process was started to write that journal and is there still: its arguments are for all to read. */
function isWritten(fileName: string): boolean {
  return readdirSync('/proc').some((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, 'latin1').includes(`\0--journal\0${fileName}\0`);
    } catch {
      return false; // it has just ended
    }
  });
}
