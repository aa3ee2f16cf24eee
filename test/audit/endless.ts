// Run by kill.test.ts and killed: a worker and a vault in one process, as fast as they can, journals in argv[2].
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { journalFileName } from '../../src/audit/files.ts';
import { JournalWriter } from '../../src/audit/journal.ts';
import { timestamp } from '../../src/audit/timestamp.ts';
import { startHeads } from '../../src/proxy/journal/heads.ts';
import { RequestJournal } from '../../src/proxy/journal/request-journal.ts';
import { requestRecord } from './folder.ts';

const folder = process.argv[2] ?? '';
const open = (name: string): JournalWriter => {
  const fileName = journalFileName(new Date(), name);
  return new JournalWriter(openSync(join(folder, fileName), 'ax'), fileName);
};
const vault = open('vault-1');
const writer = open('worker-1-1');
startHeads(writer, (head) => vault.append({ type: 'head', time: timestamp(), ...head }));
const requests = new RequestJournal(writer);
const outcome = { status: 200, error: null, overheadMs: 0.1, totalMs: 1, bytesUp: 0, bytesDown: 0 };

function turn(): void {
  for (let i = 0; i < 8; i++) {
    const { type: _type, id: _id, time: _time, ...request } = requestRecord(i, { path: '/x'.repeat(i) });
    const id = requests.intent(request, (error) => {
      if (error) throw error;
      process.stdout.write(`${id}\n`); // as it would be forwarded
      requests.outcome(id, outcome);
    });
  }
  setTimeout(turn, 1);
}
turn();
