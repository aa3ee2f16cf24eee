import { spawnSync } from 'node:child_process';
import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import SQLite from 'better-sqlite3';
import t from 'tap';
import { z } from 'zod';
import { BIN, cli, startSallyport } from '../support/sallyport.ts';

t.setTimeout(180_000);
const ACME =
  '{"id":"acme","hosts":[{"pattern":"api.acme.example"}],"auth":{"inject":[{"in":"header","name":"Authorization","value":"Bearer {token}"}]},"fields":[{"key":"token"}]}';
const Failures = z.object({ failures: z.array(z.unknown()) });
let sallyport = await startSallyport({ flags: ['--workers', '1'] });
t.teardown(() => sallyport.remove());
const database = join(sallyport.data, 'vault', 'sallyport.db');
const service = join(sallyport.data, '..', 'acme.json');
writeFileSync(service, ACME);
await sallyport.cli(['service', 'add', '--file', service]);
await sallyport.cli(['agent', 'add', 'bot']);
await sallyport.cli(['credential', 'set', 'acme', '--agent', 'bot'], { stdin: 'first' });
const older = `${database}.older`;
snapshot(older);
await sallyport.cli(['agent', 'add', 'later']);
const newer = `${database}.newer`;
snapshot(newer);

t.test('what is sound is said to be', async (t) => {
  t.match(await sallyport.json(['integrity', 'check']), { state: 'ok', rows: 7, failures: [] });
  t.match((await sallyport.cli(['integrity', 'check'])).stdout, /^Digest of the database: [0-9a-f]{64}$/m);
});

t.test('each row that fails is named', async (t) => {
  const db = new SQLite(database);
  db.exec("UPDATE services SET definition = replace(definition, 'api.acme', 'api.evil')");
  db.exec("UPDATE agents SET unlisted = 'tunnel' WHERE name = 'bot'");
  const checked = await cli(['--data', sallyport.data, '--json', 'integrity', 'check']);
  t.equal(checked.code, 1);
  t.match(checked.json(), {
    state: 'integrity_failed',
    failures: [
      { table: 'agents', id: /^agt_/, reason: /its MAC does not fit/ },
      { table: 'services', id: 'acme', reason: /its MAC does not fit/ },
    ],
  });
  const digest = digestIn(checked.json());
  t.match(
    await sallyport.failure(['integrity', 'accept', '--yes', '--digest', digest]),
    /^1 sallyport: The row [^\n]+ \[integrity_failed\]\n$/,
    'and none of them is ever accepted',
  );
  db.exec("UPDATE services SET definition = replace(definition, 'api.evil', 'api.acme')");
  db.exec("UPDATE agents SET unlisted = NULL WHERE name = 'bot'");
  db.close();
  t.match(await sallyport.json(['integrity', 'check']), { state: 'ok' });
});

t.test(
  'an answer of any length reaches a reader that takes its time; text names the first few',
  async (t) => {
    const db = new SQLite(database);
    db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO services (id, definition, created_at, removed_at, generation, mac)
    SELECT 'forged-' || i, '{}', '', NULL, 1, zeroblob(32) FROM n`);
    const slowly = `"$0" "$1" --data "$2" --json integrity check | { sleep 1; cat; }`;
    const { stdout } = spawnSync('sh', ['-c', slowly, process.execPath, BIN, sallyport.data], {
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
    });
    t.ok(stdout.length > 200_000, `${stdout.length} characters`);
    t.equal(Failures.parse(JSON.parse(stdout)).failures.length, 3001, 'and the state as a whole');
    const status = (await sallyport.cli(['status'])).stdout;
    t.match(
      status,
      /^integrity +integrity_failed; services forged-1: [^\n]+; and 2997 more: see "sallyport integrity check"$/m,
    );
    db.exec("DELETE FROM services WHERE id LIKE 'forged-%'");
    db.close();
    t.match(await sallyport.json(['integrity', 'check']), { state: 'ok' });
  },
);

t.test('an older database put back on purpose is accepted by its digest, and by nothing else', async (t) => {
  await sallyport.stop();
  putBack(older);
  sallyport = await sallyport.restart();
  const checked = await cli(['--data', sallyport.data, '--json', 'integrity', 'check']);
  t.match(checked.json(), { failures: [{ table: 'state', id: '*', reason: /is an older one/ }] });
  const accept = ['integrity', 'accept'];
  const digest = digestIn(checked.json());
  t.match(await sallyport.failure(accept), new RegExp(`--digest ${digest}[^\n]+\\[invalid_argument\\]`));
  t.match(await sallyport.failure([...accept, '--yes']), /\[invalid_argument\]/);
  for (const wrong of ['0'.repeat(64), 'abc'])
    t.match(await sallyport.failure([...accept, '--yes', '--digest', wrong]), /\[invalid_argument\]/);
  t.match(await sallyport.json(['status']), { integrity: { state: 'integrity_failed' } });

  t.match(await sallyport.json([...accept, '--yes', '--digest', digest]), {
    counter: Number,
    digest: String,
  });
  t.match(await sallyport.json(['integrity', 'check']), { state: 'ok' });
  t.match(await sallyport.json(['status']), { integrity: { state: 'ok', failures: [] } });
  t.match(sallyport.stderr(), /integrity restored\n$/);
  t.match(await sallyport.json(['agent', 'list']), [{ name: 'bot' }]);
  await sallyport.cli(['agent', 'add', 'next']);
  await sallyport.stop();
  sallyport = await sallyport.restart();
  t.match(await sallyport.json(['integrity', 'check']), { state: 'ok' }, 'also after a restart');
});

t.test('the branch that was left is not taken for a later state', async (t) => {
  await sallyport.stop();
  const kept = `${database}.kept`;
  copyFileSync(database, kept);
  putBack(newer);
  sallyport = await sallyport.restart();
  t.match(await sallyport.json(['status']), { integrity: { state: 'integrity_failed' } });
  await sallyport.stop();
  putBack(kept);
  t.match(
    await cli(['--data', sallyport.data, 'integrity', 'check']),
    { code: 1, stderr: /^sallyport: No vault runs on [^\n]+ \[vault_not_running\]\n$/ },
    'where no vault runs, that is said',
  );
});

t.test('the journal has it as an alarm, and is whole', async (t) => {
  const verified = await cli(['--data', sallyport.data, 'audit', 'verify']);
  t.equal(verified.code, 0, verified.stderr);
});

function digestIn(report: unknown): string {
  return /"digest":"([0-9a-f]{64})"/.exec(JSON.stringify(report))?.[1] ?? '';
}

function snapshot(file: string): void {
  const db = new SQLite(database);
  db.prepare('VACUUM INTO ?').run(file);
  db.close();
}

/** As whoever restores a file copy does it. */
function putBack(file: string): void {
  for (const suffix of ['-wal', '-shm']) rmSync(`${database}${suffix}`, { force: true });
  copyFileSync(file, database);
}
