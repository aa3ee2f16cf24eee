import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import SQLite from 'better-sqlite3';
import fc from 'fast-check';
import t from 'tap';
import { readFields, readNames } from '../../src/store/columns.ts';
import {
  agentAuthority,
  listAgents,
  listCredentials,
  listGrants,
  listServices,
  showService,
} from '../../src/store/list.ts';
import { createStore, openReadOnly, openWritable } from '../../src/store/open.ts';
import { readPolicy, readState } from '../../src/store/read.ts';
import { COLUMNS, type PolicyRow } from '../../src/store/schema.ts';
import { writeRows } from '../../src/store/write.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-store-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'sallyport.db');
await createStore(path);

const common = {
  created_at: '2026-01-01T00:00:00.000Z',
  removed_at: null,
  generation: 1,
  mac: Buffer.alloc(32, 1),
};
const bytes = Buffer.from('bytes');
const agent = {
  ...common,
  id: 'agt_1',
  name: 'bot',
  token_hash: bytes,
  root_certificate: bytes,
  root_key_sealed: bytes,
  root_key_dek: bytes,
  root_key_kek: 'kek-1',
  unlisted: 'tunnel' as const,
  root_number: 2,
  old_root_certificate: bytes,
  old_root_key_sealed: null,
  old_root_key_dek: null,
  old_root_key_kek: null,
};
const definition = JSON.stringify({
  id: 'acme',
  hosts: [{ pattern: 'api.acme.example' }],
  auth: { inject: [{ in: 'header', name: 'X-Key', value: '{token}' }] },
  fields: [{ key: 'token' }],
});
const credential = {
  ...common,
  id: 'crd_1',
  service: 'acme',
  label: 'default',
  current_version: 2,
  public_fields: '{"a":"b"}',
};
const version = {
  ...common,
  credential: 'crd_1',
  version: 2,
  secret_fields: '["token"]',
  sealed: bytes,
  dek: bytes,
  kek: 'kek-1',
  first_kek: 'kek-1',
  public_fields: '{}',
  destinations: bytes,
  hsm_key: null,
};
const grant = {
  ...common,
  id: 'grt_1',
  agent: 'agt_1',
  service: 'acme',
  credential: 'crd_1',
  methods: '["GET"]',
  paths: '[]',
};
const ROWS: PolicyRow[] = [
  { table: 'agents', row: agent },
  { table: 'services', row: { ...common, id: 'acme', definition } },
  { table: 'credentials', row: credential },
  { table: 'credential_versions', row: version },
  { table: 'grants', row: grant },
];
const state = { counter: 1, digest: 'ab'.repeat(32), mac: Buffer.alloc(32, 2), contents: 'cd'.repeat(32) };

t.test('what is written is read back, and a row replaces the one with its key', async (t) => {
  const store = await openWritable(path);
  t.same(
    [store.pragma('journal_mode'), store.pragma('synchronous'), store.pragma('secure_delete')],
    ['wal', 2, 1],
  );
  t.equal(await readState(store.db), undefined);
  await writeRows(store.db, ROWS, state);
  await writeRows(store.db, [{ table: 'agents', row: { ...agent, name: 'renamed' } }], {
    ...state,
    counter: 2,
  });
  const rows = await readPolicy(store.db);
  t.same(rows.agents, [{ ...agent, name: 'renamed' }]);
  t.same(rows.grants, [grant]);
  t.same(rows.credential_versions, [version]);
  t.match(await readState(store.db), { id: 1, ...state, counter: 2 });
  store.close();
});

t.test('either all rows are written or none', async (t) => {
  const store = await openWritable(path);
  const orphan: PolicyRow = { table: 'grants', row: { ...grant, id: 'grt_2', agent: 'nobody' } };
  await t.rejects(writeRows(store.db, [{ table: 'agents', row: agent }, orphan], state), /FOREIGN KEY/);
  t.equal((await readPolicy(store.db)).agents[0]?.name, 'renamed');
  const typed = { table: 'agents', row: { ...agent, name: Buffer.from('x') } };
  await t.rejects(
    writeRows(store.db, [typed as unknown as PolicyRow], state),
    /cannot store BLOB/,
    'tables are strict',
  );
  store.close();
});

t.test('the columns that are read are those of the tables', async (t) => {
  const db = new SQLite(path, { readonly: true });
  for (const [table, columns] of Object.entries(COLUMNS)) {
    const found = db.pragma(`table_info(${table})`);
    const names = Array.isArray(found) ? found.map((column: { name: string }) => column.name) : [];
    t.same([...names].sort(), [...columns].sort(), table);
  }
  db.close();
});

t.test('the lists show what is not removed, and no secret', async (t) => {
  const store = await openReadOnly(path);
  const rows = await readPolicy(store.db);
  store.close();
  t.same(listAgents(rows), [
    { id: 'agt_1', name: 'renamed', unlisted: 'tunnel', created: common.created_at },
  ]);
  t.same(listCredentials(rows), [
    {
      id: 'crd_1',
      service: 'acme',
      label: 'default',
      version: 2,
      publicFields: { a: 'b' },
      secretFields: ['token'],
      agents: ['renamed'],
      created: common.created_at,
      inHsm: false,
    },
  ]);
  t.same(listGrants(rows), [
    {
      id: 'grt_1',
      agent: 'renamed',
      service: 'acme',
      label: 'default',
      credential: 'crd_1',
      methods: ['GET'],
      paths: [],
    },
  ]);
  const services = listServices(rows);
  t.match(
    services.find(({ id }) => id === 'acme'),
    { hosts: ['api.acme.example'], scheme: 'header', credentials: 1 },
  );
  t.ok(services.length > 100, 'the catalog is among them');
  t.match(showService(rows, 'acme'), { id: 'acme' });
  t.throws(() => showService(rows, 'nothing'), { code: 'not_found' });
  t.match(agentAuthority(rows, 'renamed'), /^-----BEGIN CERTIFICATE-----\nYnl0ZXM=\n-----END/);
  t.throws(() => agentAuthority(rows, 'bot'), { code: 'not_found' });
  const removed = { ...rows, agents: rows.agents.map((row) => ({ ...row, removed_at: 'x' })) };
  t.same(listAgents(removed), []);
  t.throws(() => agentAuthority(removed, 'renamed'), { code: 'not_found' });
});

t.test('what is no database of ours is refused in one sentence', async (t) => {
  const none = join(folder, 'none.db');
  const refused = (error: unknown, code: string) => t.match(error, { code, message: /^[^\n]+\.$/ });
  const failure = (work: Promise<unknown>) =>
    work.then(
      () => undefined,
      (error: unknown) => error,
    );
  refused(await failure(openReadOnly(none)), 'store_unavailable');
  refused(await failure(openWritable(none)), 'store_unavailable');
  const text = join(folder, 'text.db');
  writeFileSync(text, 'this is no database, but long enough to look like one'.repeat(100));
  refused(await failure(openReadOnly(text)), 'store_unavailable');
  refused(await failure(openWritable(text)), 'store_unavailable');
  const empty = join(folder, 'empty.db');
  new SQLite(empty).exec('CREATE TABLE x (y)').close();
  refused(await failure(openReadOnly(empty)), 'store_version');
  t.equal(statSync(path).isFile(), true);
});

t.test('a database of a newer version is left alone', async (t) => {
  const newer = join(folder, 'newer.db');
  await createStore(newer);
  const db = new SQLite(newer);
  db.exec("INSERT INTO kysely_migration (name, timestamp) VALUES ('9999-later', '2030-01-01T00:00:00.000Z')");
  db.close();
  for (const open of [openWritable, openReadOnly]) {
    const error: unknown = await open(newer).then(
      (store) => store.close(),
      (cause: unknown) => cause,
    );
    t.match(error, { code: 'store_version', message: /newer version/ });
  }
});

t.test('a column that does not hold what it should is refused', async (t) => {
  t.same(readNames('["a"]'), ['a']);
  t.same(readFields('{"a":"b"}'), { a: 'b' });
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
      for (const read of [readNames, readFields]) {
        try {
          const value: unknown = read(text);
          if (JSON.stringify(value) !== JSON.stringify(JSON.parse(text))) return false;
        } catch (error) {
          if (!(error instanceof Error && 'code' in error && error.code === 'store_unavailable'))
            return false;
        }
      }
      return true;
    }),
  );
  t.pass('whatever stands there');
});
