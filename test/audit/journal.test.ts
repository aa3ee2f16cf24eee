import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { BATCH_BYTES, JournalWriter } from '../../src/audit/journal.ts';
import { verifyJournals } from '../../src/audit/verify.ts';
import { SallyportError } from '../../src/errors.ts';
import { JournalFolder, requestRecord } from './folder.ts';

const sha256 = (text: string): string => createHash('sha256').update(text, 'latin1').digest('hex');

t.test(
  'a turn of the event loop is one batch under one link, and callbacks run when it is in the file',
  async (t) => {
    const folder = new JournalFolder();
    t.teardown(() => folder.remove());
    const writer = folder.open('worker-1-1');
    t.same(writer.head, { link: 0, hash: sha256(writer.fileName) });
    const order: string[] = [];
    writer.append(requestRecord(1));
    writer.onFlush((error) => {
      order.push(`first ${error} ${folder.read(writer.fileName).split('\n').length - 1} lines`);
      writer.append(requestRecord(3)); // belongs to the next batch
    });
    writer.append(requestRecord(2));
    writer.onFlush((error) => order.push(`second ${error}`));
    t.equal(folder.read(writer.fileName), '', 'nothing is written before the turn is over');
    t.same(order, []);
    await writer.flushed();
    await writer.flushed();
    t.same(order, ['first undefined 3 lines', 'second undefined']);

    const lines = folder.read(writer.fileName).split('\n');
    t.same(JSON.parse(lines[0] ?? ''), { ...requestRecord(1), time: JSON.parse(lines[0] ?? '').time });
    const first = sha256(`${sha256(writer.fileName)}${lines[0]}\n${lines[1]}\n`);
    t.equal(lines[2], `{"link":1,"hash":"${first}"}`);
    t.equal(lines[4], `{"link":2,"hash":"${sha256(`${first}${lines[3]}\n`)}"}`);
    t.same(writer.head, { link: 2, hash: sha256(`${first}${lines[3]}\n`) });
  },
);

t.test('text beyond ASCII is escaped, and read back the same', async (t) => {
  const folder = new JournalFolder();
  t.teardown(() => folder.remove());
  const writer = folder.open('vault-1');
  const detail = { reason: 'Zürich \u2028 \u{1f511} \x7f\x1b[31m', ключ: true };
  writer.append({ type: 'alarm', time: 't', action: 'é', subject: '\ud800', detail });
  await writer.flushed();
  const text = folder.read(writer.fileName);
  t.match(text, /^[\x20-\x7e\n]+$/);
  t.same(JSON.parse(text.split('\n')[0] ?? '').detail, detail);
});

t.test(
  'more than a batch holds in one turn becomes several batches, each with its own callbacks',
  async (t) => {
    const folder = new JournalFolder();
    t.teardown(() => folder.remove());
    const writer = folder.open('worker-1-1');
    const long = `/${'x'.repeat(100_000)}`;
    const links: number[] = [];
    let inTurn = true;
    for (let id = 1; id <= 30; id++) {
      writer.append(requestRecord(id, { path: long }));
      writer.onFlush((error) => {
        t.equal(inTurn, false);
        t.equal(error, undefined);
        links.push(id);
      });
    }
    inTurn = false;
    await writer.flushed();
    t.same(
      links,
      Array.from({ length: 30 }, (_, i) => i + 1),
    );
    t.equal(writer.head.link, 3);
    t.match(await verifyJournals(folder.path), { files: 1, records: 30, problems: [] });

    t.throws(() => writer.append(requestRecord(31, { path: 'x'.repeat(BATCH_BYTES) })), {
      code: 'journal_unavailable',
    });
    writer.append(requestRecord(32));
    await writer.flushed();
    t.match(await verifyJournals(folder.path), { records: 31, problems: [] });
  },
);

t.test('a journal that is not new is refused: its chain cannot be taken up', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-journal-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'old.ndjson');
  writeFileSync(path, '{}\n');
  const fd = openSync(path, 'a');
  t.teardown(() => closeSync(fd));
  t.throws(() => new JournalWriter(fd, 'old.ndjson'), { code: 'journal_unavailable' });
  t.end();
});

t.test('a descriptor that cannot be written fails every batch, without a word in the file', async (t) => {
  const folder = new JournalFolder();
  t.teardown(() => folder.remove());
  const { fileName } = folder.open('worker-1-1');
  const fd = openSync(join(folder.path, fileName), 'r');
  t.teardown(() => closeSync(fd));
  const writer = new JournalWriter(fd, fileName);
  for (const id of [1, 2]) {
    writer.append(requestRecord(id));
    const error = await writer.flushed().catch((error) => error);
    t.ok(error instanceof SallyportError);
    t.match(error, { code: 'journal_unavailable', message: /^[^\n]*(EBADF|EINVAL)[^\n]*make room/ });
  }
  t.equal(writer.head.link, 0);
  t.equal(folder.read(fileName), '');
});

/** What fill.ts prints: for each batch its error code or null, and the last link. `limit`: a command of the shell. */
function fill(path: string, limit: string, ballast = ''): { results: (string | null)[]; link: number } {
  const program = join(import.meta.dirname, 'fill.ts');
  const run = spawnSync(
    'bash',
    ['--norc', '-c', `${limit}; exec env -i "$0" "$@"`, process.execPath, program, path, ballast],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
  );
  if (run.status !== 0) throw new Error(`fill.ts: ${run.signal ?? run.status} ${run.stderr}`);
  return JSON.parse(run.stdout);
}

t.test('at the limit of its size the file ends with a whole batch, and refusals go on', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-journal-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, '20260101T000000000Z-worker-1-1.ndjson');
  const { results, link } = fill(path, 'ulimit -f 32'); // 32 KiB
  const written = results.indexOf('journal_unavailable');
  t.ok(
    written > 0 && results.slice(written).every((code) => code === 'journal_unavailable'),
    'no gap, no silence',
  );
  t.equal(link, written);
  t.match(await verifyJournals(folder), { records: written, problems: [] });
  t.equal((await verifyJournals(folder)).notes.filter(({ kind }) => kind === 'torn').length, 0);
});

/** A file system of 64 KiB at `path`; false where there is no right to mount one. */
function mountSmall(path: string): boolean {
  mkdirSync(path);
  return spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path]).status === 0;
}

const parent = mkdtempSync(join(tmpdir(), 'sallyport-journal-'));
const disk = join(parent, 'disk');
const skip = mountSmall(disk)
  ? false
  : 'no right to mount a small file system; the size limit above is alike';
t.teardown(() => {
  if (!skip) execFileSync('umount', [disk]);
  rmSync(parent, { recursive: true });
});

t.test(
  'on a full disk it refuses; with room again it goes on, and the chain is whole',
  { skip },
  async (t) => {
    const ballast = join(disk, 'ballast');
    writeFileSync(ballast, Buffer.alloc(24 * 1024));
    const path = join(disk, '20260101T000000000Z-worker-1-1.ndjson');
    const { results, link } = fill(path, 'true', ballast);
    const failed = results.filter((code) => code === 'journal_unavailable').length;
    t.ok(failed > 0, 'the disk was full');
    t.equal(results.at(-1), null, 'and then it was not');
    t.equal(link, results.length - failed);
    t.match(await verifyJournals(disk), { records: link, problems: [] });
    t.equal(readFileSync(path, 'latin1').split('\n').length - 1, 2 * link);
  },
);
