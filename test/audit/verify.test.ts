import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { chainStart, type Head, linkHash, linkLine } from '../../src/audit/chain.ts';
import type { FindingKind, Verification } from '../../src/audit/findings.ts';
import type { JournalWriter } from '../../src/audit/journal.ts';
import { verifyJournals } from '../../src/audit/verify.ts';
import { auditKey, JournalFolder, requestRecord, writeBatch, writeCheckpoint, writeHead } from './folder.ts';

const key = auditKey();

interface Setting {
  readonly folder: JournalFolder;
  readonly vault: JournalWriter;
  readonly worker: JournalWriter;
  /** Problems, shortened to what a test names. */
  check(): Promise<{ problems: [FindingKind, string, number][]; notes: FindingKind[] }>;
}

/** A worker's journal of six batches of two records (three lines each), of which the vault knows each; then a checkpoint. */
async function setting(t: Tap): Promise<Setting> {
  const folder = new JournalFolder();
  t.teardown(() => folder.remove());
  const vault = folder.open('vault-1', new Date('2026-01-01'));
  const worker = folder.open('worker-1-1', new Date('2026-01-02'));
  await writeHead(vault, worker);
  for (let batch = 0; batch < 6; batch++) {
    await writeBatch(worker, requestRecord(2 * batch), requestRecord(2 * batch + 1));
    await writeHead(vault, worker);
  }
  await writeCheckpoint(vault, key);
  const check = async () => {
    const { problems, notes } = await verifyJournals(folder.path, { auditPublicKey: key.point });
    const short = (file: string) =>
      file === worker.fileName ? 'worker' : file === vault.fileName ? 'vault' : file;
    return {
      problems: problems.map(({ kind, file, line }): [FindingKind, string, number] => [
        kind,
        short(file),
        line,
      ]),
      notes: notes.map(({ kind }) => kind),
    };
  };
  return { folder, vault, worker, check };
}
type Tap = Pick<typeof t, 'teardown'>;

/** What someone with write access does who knows the format: every link computed anew. */
function rechain(fileName: string, lines: string[]): string[] {
  let head: Head = chainStart(fileName);
  let batch = '';
  return lines.map((line) => {
    if (!line.startsWith('{"link"')) {
      batch += `${line}\n`;
      return line;
    }
    head = { link: head.link + 1, hash: linkHash(head.hash, Buffer.from(batch, 'latin1')) };
    batch = '';
    return linkLine(head).trimEnd();
  });
}

t.test(
  'untouched journals verify, with and without the key, and the notes say what the proof covers',
  async (t) => {
    const { folder, check } = await setting(t);
    t.same(await check(), { problems: [], notes: ['uncovered'] });
    const all: Verification = await verifyJournals(folder.path, { auditPublicKey: key.point });
    t.match(all, { files: 2, records: 12 + 7 + 1 });
    t.match(all.notes[0]?.message, /^No link after 7 \(of 8\)/);
    const unkeyed = await verifyJournals(folder.path);
    t.same(unkeyed.problems, []);
    t.match(unkeyed.notes, [{ kind: 'uncovered', message: /^No link \(of 8\)/ }]);
    await t.rejects(verifyJournals(folder.path, { auditPublicKey: Buffer.alloc(65, 4) }), {
      code: 'invalid_argument',
    });
    await t.rejects(verifyJournals(join(folder.path, 'none')), { code: 'ENOENT' });
  },
);

const swap = (lines: string[], a: number, b: number): string[] =>
  lines.map((line, i) => (i === a ? lines[b] : i === b ? lines[a] : line) ?? '');

/** Tampering with the worker's file, whose batch k has lines 3k+1, 3k+2 and its link 3k+3; and what must be named. */
const TAMPERING: [string, (lines: string[]) => string[], [FindingKind, number][]][] = [
  ['a field is edited', (l) => l.map((x, i) => (i === 4 ? x.replace('GET', 'PUT') : x)), [['edited', 4]]],
  ['a line is removed', (l) => l.filter((_, i) => i !== 7), [['edited', 7]]],
  ['a line is inserted', (l) => l.toSpliced(7, 0, l[0] ?? ''), [['edited', 7]]],
  ['lines of a batch change places', (l) => swap(l, 6, 7), [['edited', 7]]],
  [
    'lines of two batches change places',
    (l) => swap(l, 4, 6),
    [
      ['edited', 4],
      ['edited', 7],
    ],
  ],
  ['a batch is removed', (l) => l.toSpliced(6, 3), [['unlinked', 9]]],
  ['the first batch is removed', (l) => l.slice(3), [['unlinked', 3]]],
  ['a batch is repeated', (l) => l.toSpliced(6, 0, ...l.slice(3, 6)), [['unlinked', 9]]],
  [
    'batches change places',
    (l) => [...l.slice(0, 3), ...l.slice(6, 9), ...l.slice(3, 6), ...l.slice(9)],
    [
      ['unlinked', 6],
      ['unlinked', 9],
      ['unlinked', 12],
    ],
  ],
  ['a link line is removed', (l) => l.toSpliced(5, 1), [['unlinked', 8]]],
  [
    'a link line is edited',
    (l) => l.map((x, i) => (i === 5 ? x.replace(/.(?="}$)/, (digit) => (digit === '0' ? '1' : '0')) : x)),
    [['edited', 4]],
  ],
  [
    'a line is overwritten with rubbish',
    (l) => l.map((x, i) => (i === 3 ? '\x00\xff{"' : x)),
    [
      ['edited', 4],
      ['malformed', 4],
    ],
  ],
  [
    'a line is emptied',
    (l) => l.map((x, i) => (i === 3 ? '' : x)),
    [
      ['edited', 4],
      ['malformed', 4],
    ],
  ],
  [
    'white space is added to a link',
    (l) => l.map((x, i) => (i === 5 ? `${x} ` : x)),
    [
      ['malformed', 6],
      ['unlinked', 9],
    ],
  ],
  ['the last batch is cut off', (l) => l.slice(0, -3), [['truncated', 15]]],
  ['half of the last batch is cut off', (l) => l.slice(0, -1), [['truncated', 15]]],
  ['everything is cut off', () => [], [['truncated', 0]]],
];

for (const [name, change, expected] of TAMPERING) {
  t.test(`${name}: named with file and line`, async (t) => {
    const { folder, worker, check } = await setting(t);
    folder.edit(worker.fileName, change);
    const { problems } = await check();
    for (const [kind, line] of expected) {
      t.ok(
        problems.some((p) => p[0] === kind && p[1] === 'worker' && p[2] === line),
        `${kind} ${line}`,
      );
    }
    t.ok(
      problems.every(([, file]) => file === 'worker'),
      'and no other file is blamed',
    );
  });
}

t.test(
  'a file written anew with a chain that holds is found by the heads, even by a worker that goes on',
  async (t) => {
    const { folder, vault, worker, check } = await setting(t);
    folder.edit(worker.fileName, (lines) =>
      rechain(
        worker.fileName,
        lines.filter((_, i) => i !== 4),
      ),
    );
    t.same((await check()).problems, [['rewritten', 'worker', 5]]);

    // The captured worker reports its new chain to the vault: the older heads remain.
    const last = folder.read(worker.fileName).trimEnd().split('\n').at(-1) ?? '';
    const { link, hash } = JSON.parse(last);
    await writeBatch(vault, { type: 'head', time: 't', file: worker.fileName, link, hash });
    t.same((await check()).problems, [['rewritten', 'worker', 5]]);
  },
);

t.test('heads that go back tell of a file begun anew', async (t) => {
  const { folder, vault, worker, check } = await setting(t);
  const { link, hash } = JSON.parse(folder.read(worker.fileName).split('\n')[5] ?? '');
  await writeBatch(vault, { type: 'head', time: 't', file: worker.fileName, link, hash });
  t.equal(link, 2);
  t.same((await check()).problems, [['rewritten', 'worker', 18]]);
});

t.test('a removed, renamed or swapped file is found', async (t) => {
  const { folder, vault, worker, check } = await setting(t);
  const other = folder.open('worker-2-1', new Date('2026-01-02'));
  await writeHead(vault, other);
  await writeBatch(other, requestRecord(1));
  await writeHead(vault, other);
  t.same((await check()).problems, []);
  const [a, b] = [worker, other].map(({ fileName }) => join(folder.path, fileName));
  if (!a || !b) throw new Error('two files');

  renameSync(b, `${b}.away`);
  t.same((await check()).problems, [['missing', other.fileName, 0]]);
  renameSync(a, b);
  t.match((await check()).problems.map(([kind, file]) => `${kind} ${file}`).sort(), [
    `edited ${other.fileName}`,
    'missing worker',
    `rewritten ${other.fileName}`,
  ]);
  renameSync(`${b}.away`, a);
  const swapped = (await check()).problems.map(([kind, file, line]) => `${kind} ${file} ${line}`);
  t.ok(swapped.includes('edited worker 1') && swapped.includes(`edited ${other.fileName} 1`));
});

t.test(
  "the vault's own journal: what a checkpoint covers cannot be changed; what it does not is said",
  async (t) => {
    const { folder, vault, check } = await setting(t);
    await writeBatch(vault, { type: 'admin', time: 't', action: 'grant.add', subject: 's', detail: {} });
    t.same(await check(), { problems: [], notes: ['uncovered'] });
    const whole = folder.read(vault.fileName);

    folder.edit(vault.fileName, (lines) => rechain(vault.fileName, lines.toSpliced(0, 2)));
    t.match((await check()).problems[0], ['unsigned', 'vault', 13]);
    folder.write(vault.fileName, whole);
    folder.edit(vault.fileName, (lines) =>
      lines.map((line) => line.replace(/"signature":".{128}/, `"signature":"${'0'.repeat(128)}`)),
    );
    folder.edit(vault.fileName, (lines) => rechain(vault.fileName, lines));
    t.same((await check()).problems, [['unsigned', 'vault', 15]]);
    folder.edit(vault.fileName, (lines) =>
      rechain(
        vault.fileName,
        lines.map((line) => line.replace(/"link":7/, '"link":5000')),
      ),
    );
    t.same((await check()).problems, [['unsigned', 'vault', 15]]);
  },
);

t.test("a vault's closed journal is covered by its successor, which records where it ended", async (t) => {
  const { folder, vault, check } = await setting(t);
  const next = folder.open('vault-2', new Date('2026-01-03'));
  await writeHead(next, vault);
  await writeCheckpoint(next, key);
  t.same(await check(), { problems: [], notes: ['uncovered'] }, 'only the newest has an end without cover');

  const whole = folder.read(vault.fileName);
  folder.edit(vault.fileName, (lines) => lines.slice(0, -2));
  t.same((await check()).problems, [['truncated', 'vault', 14]]);
  folder.write(vault.fileName, whole);
  await writeBatch(vault, { type: 'admin', time: 't', action: 'grant.add', subject: 'forged', detail: {} });
  t.same((await check()).problems, [['rewritten', 'vault', 18]]);
  rmSync(join(folder.path, vault.fileName));
  t.same((await check()).problems, [['missing', 'vault', 0]]);
});

t.test('a torn batch at the end is a note, unless the vault knew that it had been whole', async (t) => {
  const { folder, vault, worker, check } = await setting(t);
  const whole = folder.read(worker.fileName);
  for (const debris of [
    '{"type":"req',
    '{"type":"request","id":99}\n',
    '{"a":1}\n{"b":2}\n{"link":7,"hash":"00',
  ]) {
    folder.write(worker.fileName, whole + debris);
    t.same(await check(), { problems: [], notes: ['uncovered', 'torn'] });
  }
  folder.write(worker.fileName, whole);
  await writeBatch(worker, requestRecord(50));
  const longer = folder.read(worker.fileName);
  folder.write(worker.fileName, longer.slice(0, -20));
  t.same((await check()).problems, [], 'no head told of it');
  folder.write(worker.fileName, longer);
  await writeHead(vault, worker);
  folder.write(worker.fileName, longer.slice(0, -20));
  t.same((await check()).problems, [['truncated', 'worker', 18]]);
});

t.test("a worker cannot write what is the vault's to say, nor the other way round", async (t) => {
  const { folder, vault, worker, check } = await setting(t);
  const forged = folder.open('worker-9-1');
  await writeHead(forged, worker);
  await writeBatch(forged, {
    type: 'head',
    time: 't',
    file: vault.fileName,
    link: 1000,
    hash: '0'.repeat(64),
  });
  await writeBatch(vault, requestRecord(1));
  t.same((await check()).problems.toSorted(), [
    ['malformed', forged.fileName, 1],
    ['malformed', forged.fileName, 3],
    ['malformed', 'vault', 17],
  ]);
  t.ok((await check()).notes.includes('unvouched'), 'and that nobody knows the file is noted');
});

t.test('a file of rubbish is bounded in time, memory and findings', async (t) => {
  const folder = new JournalFolder();
  t.teardown(() => folder.remove());
  const { fileName } = folder.open('worker-1-1');
  folder.write(
    fileName,
    `${'x'.repeat(5_000_000)}\n{"link":1,"hash":"${'0'.repeat(64)}"}\n${'{}\n'.repeat(5000)}{"link":2,"hash":"${'0'.repeat(64)}"}\n`,
  );
  const { problems } = await verifyJournals(folder.path);
  t.equal(problems.length, 100);
  t.match(problems.at(-1)?.message, /Further problems/);
  t.match(problems[0], { kind: 'edited', line: 1 });
});
