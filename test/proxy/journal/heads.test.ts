import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { JournalWriter } from '../../../src/audit/journal.ts';
import { type JournalHead, startHeads } from '../../../src/proxy/journal/heads.ts';

t.test(
  'heads are reported at once, then within 100 ms of a change, and a last time when stopped',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-heads-'));
    const fd = openSync(join(folder, 'j.ndjson'), 'ax');
    t.teardown(() => {
      closeSync(fd);
      rmSync(folder, { recursive: true });
    });
    const writer = new JournalWriter(fd, 'j.ndjson');
    const sent: JournalHead[] = [];
    const stop = startHeads(writer, (head) => sent.push(head));
    const first = { file: 'j.ndjson', ...writer.head };
    t.same(sent, [first]);
    await setTimeout(250);
    t.same(sent, [first], 'nothing has changed');

    const line = '{"a":1}';
    writer.appendLine(line);
    await writer.flushed();
    writer.appendLine(line);
    await writer.flushed();
    const third = { file: 'j.ndjson', ...writer.head };
    await setTimeout(150);
    t.same(sent, [first, third], 'the newest alone');

    writer.appendLine(line);
    await writer.flushed();
    stop();
    t.same(sent.slice(2), [{ file: 'j.ndjson', ...writer.head }]);
    writer.appendLine(line);
    await writer.flushed();
    await setTimeout(150);
    t.equal(sent.length, 3);
  },
);
