import SQLite from 'better-sqlite3';
import t from 'tap';
import { openReadOnly } from '../../src/store/open.ts';
import { readPolicy, readState } from '../../src/store/read.ts';
import { eachRow } from '../../src/store/schema.ts';
import { contentsOf } from '../../src/vault/integrity/contents.ts';
import { StateDigest } from '../../src/vault/integrity/digest.ts';
import { fill } from '../support/fill.ts';
import { ACME, install, TestVault } from '../support/vault.ts';

/** Two rows each. `bench/custody.ts` measures 100,000 rows. */
const CREDENTIALS = 4_000;
/** Rows whose MACs the HSM makes in one request, where it makes all: see src/vault/integrity/verify.ts. */
const BATCH = 1_000;

t.setTimeout(120_000);
const installation = await install();
const { database } = installation;
t.teardown(() => installation.remove());
await fill(installation, ACME, CREDENTIALS);

/** Starts a vault; how often the HSM made MACs until it served, and what is wrong. */
async function start(): Promise<{ macs: number; integrity: { state: string; failures: { id: string }[] } }> {
  const vault = await TestVault.start(installation);
  try {
    const { hsm, integrity } = (await vault.get('/v1/status')).body;
    return { macs: hsm.health.verbs.mac?.asked ?? 0, integrity };
  } finally {
    await vault.stop();
  }
}

function write(statement: string, ...values: (string | Buffer)[]): void {
  const db = new SQLite(database);
  db.prepare(statement).run(...values);
  db.close();
}

t.test('one MAC speaks for all rows, however many they are', async (t) => {
  const { macs, integrity } = await start();
  t.ok(macs <= 4, `the HSM was asked ${macs} times`);
  t.equal(integrity.state, 'ok');
});

t.test('a record that does not speak for the contents makes every row be looked at', async (t) => {
  const store = await openReadOnly(database);
  const genuine = (await readState(store.db))?.contents ?? '';
  store.close();
  write('UPDATE state SET contents = NULL'); // a record of an earlier version has none, and another MAC: test/formats
  const { macs, integrity } = await start();
  t.ok(macs >= (2 * CREDENTIALS) / BATCH, `the HSM was asked ${macs} times`);
  t.match(integrity, { state: 'integrity_failed', failures: { length: 1 } }, "it is not the vault's");
  write('UPDATE state SET contents = ?', genuine);
});

t.test('whoever changes a row and the digest of contents with it is found, and the row named', async (t) => {
  const store = await openReadOnly(database);
  const rows = await readPolicy(store.db);
  const record = await readState(store.db);
  store.close();
  const [victim] = rows.credentials;
  if (!victim || !record) throw new Error('nothing is stored');
  const contents = new StateDigest('sallyport contents v1');
  const forged = [...eachRow(rows)].map((entry) =>
    entry.table === 'credentials' && entry.row.id === victim.id
      ? { table: entry.table, row: { ...entry.row, label: 'forged' } }
      : entry,
  );
  contents.put(forged.map(contentsOf));
  write("UPDATE credentials SET label = 'forged' WHERE id = ?", victim.id);
  write('UPDATE state SET contents = ?', contents.preview(record.counter).toString('hex'));
  const { integrity } = await start();
  t.equal(integrity.state, 'integrity_failed');
  t.match(integrity.failures, [{ table: 'credentials', id: victim.id }, { table: 'state' }]);
});
