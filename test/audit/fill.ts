// Run by journal.test.ts under a limit: writes batches to the journal argv[2] until one fails, then a few more; given
// argv[3] it removes that file, to make room, and writes again. Prints what became of each batch.
import { openSync, rmSync } from 'node:fs';
import { basename } from 'node:path';
import { JournalWriter } from '../../src/audit/journal.ts';
import { SallyportError } from '../../src/errors.ts';
import { requestRecord } from './folder.ts';

const [path = '', ballast = ''] = process.argv.slice(2);
const writer = new JournalWriter(openSync(path, 'ax'), basename(path));
const results: (string | null)[] = [];

async function write(): Promise<boolean> {
  writer.append(requestRecord(results.length + 1, { path: `/${'x'.repeat(1000)}` }));
  try {
    await writer.flushed();
    results.push(null);
    return true;
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    results.push(error.code);
    return false;
  }
}

while (await write()) if (results.length > 1000) throw new Error('no limit was met');
for (let i = 0; i < 3; i++) await write();
if (ballast !== '') {
  rmSync(ballast);
  for (let i = 0; i < 3; i++) await write();
}
process.stdout.write(JSON.stringify({ results, link: writer.head.link }));
