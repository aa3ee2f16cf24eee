import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { verifyJournals } from '../../src/audit/verify.ts';
import { JournalFolder } from './folder.ts';

t.test(
  'kill -9 at any moment leaves journals that verify, with every request that was forwarded',
  async (t) => {
    for (let run = 1; run <= 8; run++) {
      const folder = new JournalFolder();
      const child = spawn(process.execPath, [join(import.meta.dirname, 'endless.ts'), folder.path], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let forwarded = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        forwarded += chunk;
      });
      const closed = once(child, 'close');
      try {
        while (forwarded === '') {
          if (child.exitCode !== null) throw new Error('it ended by itself');
          await setTimeout(5);
        }
        if (run % 3 === 0) t.same((await verifyJournals(folder.path)).problems, [], 'while it writes, too');
        await setTimeout(Math.random() * 250);
      } finally {
        child.kill('SIGKILL');
        await closed;
      }
      const { problems, notes } = await verifyJournals(folder.path);
      t.same(problems, []);
      t.notOk(
        notes.some(({ kind }) => kind === 'unvouched'),
        'the vault knows the file from its beginning',
      );
      const worker = readdirSync(folder.path).find((name) => name.includes('worker')) ?? '';
      const written = new Set(folder.read(worker).match(/"type":"request","id":\d+/g));
      const ids = forwarded.split('\n').slice(0, -1);
      t.same(
        ids.filter((id) => !written.has(`"type":"request","id":${id}`)),
        [],
        `${ids.length} were forwarded`,
      );
      folder.remove();
    }
  },
);
