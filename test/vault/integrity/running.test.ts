import { copyFileSync, linkSync, renameSync } from 'node:fs';
import SQLite from 'better-sqlite3';
import t from 'tap';
import { install, TestVault } from '../../support/vault.ts';
import { ATTACKS, history, sql } from './tampering.ts';

t.setTimeout(120_000); // each start is two processes
const installation = await install();
const { database } = installation;
const seen = await history(installation);
const vault = await TestVault.start(installation);
const worker = await vault.worker();
t.teardown(async () => {
  await vault.stop();
  installation.remove();
});

const refused = () => vault.until('everything is refused', () => worker.policy.integrity !== null);
const sound = () => vault.until('the state is sound again', () => worker.policy.integrity === null);

for (const attack of ATTACKS) {
  t.test(`${attack.name}: noticed by the running vault`, async (t) => {
    await sound();
    const undo = rowsOf();
    vault.stderr = '';
    sql(database, (db) => {
      db.pragma('foreign_keys = OFF');
      attack.apply(db, seen);
    });
    await refused();
    t.match(worker.policy.integrity, attack.named(seen), 'workers are told which row');
    t.match((await worker.askSecret(seen.token)).code, 'integrity_failed', 'no secret is released');
    const { body } = await vault.get('/v1/status');
    t.equal(body.integrity.state, 'integrity_failed');
    t.ok(
      body.integrity.failures.some((each: { table: string; id: string }) =>
        attack.named(seen).test(`row ${each.id} of ${each.table}`),
      ),
    );
    t.match(vault.stderr, /^sallyport: integrity_failed: .*\n$/, 'one line on stderr');
    const change = await vault.call('PUT', '/v1/grants', {
      agent: 'mallory',
      service: 'acme',
      label: 'spare',
    });
    t.match(
      change,
      { status: 403, body: { code: 'integrity_failed' } },
      'the policy is not changed on top of it',
    );
    restore(undo);
    await sound();
    t.equal(
      (await worker.askSecret(seen.token)).parts[0]?.toString(),
      'third',
      'and all is well once it is undone',
    );
  });
}

t.test('a whole older database in the place of the file: noticed by the running vault', async (t) => {
  await sound();
  const own = `${database}.own`;
  const other = `${database}.other`;
  linkSync(database, own);
  copyFileSync(seen.olderFile, other);
  renameSync(other, database);
  await refused();
  t.match(worker.policy.integrity, /Another file is in the place of the database/);
  t.match((await worker.askSecret(seen.token)).code, 'integrity_failed');
  t.match((await vault.get('/v1/integrity')).body, {
    state: 'integrity_failed',
    failures: [{ table: 'state' }],
  });
  renameSync(own, database);
  await sound();

  linkSync(database, own);
  copyFileSync(database, other);
  renameSync(other, database);
  await refused(); // what the vault went on writing would be lost
  renameSync(own, database);
  await sound();
});

t.test('a change that comes before the next look is refused, and raises the alarm itself', async (t) => {
  await sound();
  const undo = rowsOf();
  sql(database, (db) => db.exec('UPDATE grants SET methods = \'["GET"]\' WHERE removed_at IS NULL'));
  const change = await vault.call('PUT', '/v1/grants', { agent: 'mallory', service: 'acme', label: 'spare' });
  t.match(change, { status: 403, body: { code: 'integrity_failed' } });
  t.match(worker.policy.integrity, /of grants was changed/, 'in force when it is answered');
  restore(undo);
  await sound();
});

t.test("the record of the state is the vault's alone", async (t) => {
  for (const change of [
    'UPDATE state SET counter = counter + 5',
    'UPDATE state SET mac = zeroblob(32)',
    'DELETE FROM state',
  ]) {
    await sound();
    const undo = rowsOf();
    sql(database, (db) => db.exec(change));
    await refused();
    t.match(worker.policy.integrity, /The record of the database's state was changed by somebody else/);
    t.match((await vault.get('/v1/integrity')).body, {
      state: 'integrity_failed',
      failures: [{ table: 'state' }],
    });
    restore(undo);
  }
  await sound();
});

t.test('a trigger is noticed, whatever it may do', async (t) => {
  sql(database, (db) =>
    db.exec('CREATE TRIGGER keep AFTER UPDATE ON agents BEGIN SELECT RAISE(IGNORE); END'),
  );
  await refused();
  t.match(worker.policy.integrity, /triggers or views that the vault did not make/);
  sql(database, (db) => db.exec('DROP TRIGGER keep'));
  await sound();
});

t.test('what was noticed is in the journal', async (t) => {
  const alarms = vault
    .journal()
    .filter((record) => record.type === 'alarm' && record.subject === 'integrity_failed');
  t.equal(alarms.length, ATTACKS.length + 7);
  t.match(alarms[0].detail.what, /row acme of services was changed by somebody else/);
});

t.test('a reader raises no alarm', async (t) => {
  const revision = worker.policy.revision;
  for (let i = 0; i < 10; i++) sql(database, (db) => db.prepare('SELECT count(*) FROM agents').get());
  await new Promise((resolve) => setTimeout(resolve, 500));
  t.equal(worker.policy.revision, revision);
});

type Table = { name: string; rows: Record<string, unknown>[] };

function rowsOf(): Table[] {
  return sql(database, (db) =>
    ['agents', 'services', 'credentials', 'credential_versions', 'grants', 'state'].map((name) => ({
      name,
      rows: db.prepare<[], Record<string, unknown>>(`SELECT * FROM ${name}`).all(),
    })),
  );
}

function restore(tables: readonly Table[]): void {
  const db = new SQLite(database);
  db.pragma('foreign_keys = OFF');
  db.transaction(() => {
    for (const { name, rows } of tables) {
      db.exec(`DELETE FROM ${name}`);
      for (const row of rows) {
        const columns = Object.keys(row);
        db.prepare(`INSERT INTO ${name} (${columns}) VALUES (${columns.map(() => '?')})`).run(
          ...Object.values(row),
        );
      }
    }
  })();
  db.close();
}
