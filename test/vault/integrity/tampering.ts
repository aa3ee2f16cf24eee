import SQLite from 'better-sqlite3';
import type { Installation } from '../../support/vault.ts';
import { ACME, TestVault } from '../../support/vault.ts';

type Row = Record<string, string | number | Buffer | null>;

/** What an attacker who can write the database has seen of it over time. */
export interface Seen {
  readonly token: Buffer;
  readonly otherToken: Buffer;
  readonly current: string;
  readonly spare: string;
  /** A copy of the whole file, some changes ago. */
  readonly olderFile: string;
  readonly firstVersion: Row;
  readonly firstCredential: Row;
  readonly removedGrant: Row;
}

export function sql<T>(path: string, use: (db: SQLite.Database) => T): T {
  const db = new SQLite(path, { timeout: 5_000 });
  try {
    return db.transaction(() => use(db))();
  } finally {
    db.close();
  }
}

/** Fills the store by way of the vault: versions, a removed grant, two credentials of one service. */
export async function history(installation: Installation): Promise<Seen> {
  const { database } = installation;
  const vault = await TestVault.start(installation);
  await vault.worker();
  await vault.call('POST', '/v1/services', { services: [ACME] });
  const { token } = await vault.addAgent('bot');
  const { token: otherToken } = await vault.addAgent('mallory');
  const set = async (value: string, label: string): Promise<string> => {
    const { body } = await vault.setCredential(
      'acme',
      { token: value },
      { label, agents: label === 'default' ? ['bot'] : [] },
    );
    return body.id;
  };
  const current = await set('first', 'default');
  const row = (db: SQLite.Database, text: string, ...values: string[]) =>
    db.prepare<string[], Row>(text).get(...values) ?? {};
  const firstVersion = sql(database, (db) =>
    row(db, 'SELECT * FROM credential_versions WHERE credential = ?', current),
  );
  const firstCredential = sql(database, (db) => row(db, 'SELECT * FROM credentials WHERE id = ?', current));
  const olderFile = `${database}.older`;
  const copy = new SQLite(database);
  copy.prepare('VACUUM INTO ?').run(olderFile);
  copy.close();
  await set('second', 'default');
  await set('third', 'default');
  const spare = await set('spare', 'spare');
  const grant = { agent: 'mallory', service: 'acme', label: 'spare' };
  const { body } = await vault.call('PUT', '/v1/grants', grant);
  const removedGrant = sql(database, (db) => row(db, 'SELECT * FROM grants WHERE id = ?', body.id));
  await vault.call('DELETE', '/v1/grants?agent=mallory&service=acme');
  await vault.stop();
  return { token, otherToken, current, spare, olderFile, firstVersion, firstCredential, removedGrant };
}

/** Writes a row as it is, over the one with its key. */
function put(db: SQLite.Database, table: string, row: Row): void {
  const columns = Object.keys(row);
  db.prepare(`INSERT OR REPLACE INTO ${table} (${columns}) VALUES (${columns.map(() => '?')})`).run(
    ...Object.values(row),
  );
}

/** What an attacker does with SQL, and the row that must be named for it: by the running vault, and by the next one. */
export interface Attack {
  readonly name: string;
  readonly apply: (db: SQLite.Database, seen: Seen) => void;
  readonly named: (seen: Seen) => RegExp;
  /** Tried over a restart too (each is a start of two processes). */
  readonly restart?: boolean;
  /** After a restart only the state as a whole can be told to be wrong: the row is one that the vault wrote, once. */
  readonly genuine?: boolean;
  /** After a restart the other credentials may be used on. */
  readonly confined?: boolean;
}

export const ATTACKS: readonly Attack[] = [
  {
    name: "a service's host edited",
    restart: true,
    apply: (db) =>
      db.exec("UPDATE services SET definition = replace(definition, 'api.acme.example', 'evil.example')"),
    named: () => /row acme of services/,
  },
  {
    name: "an agent's token replaced",
    apply: (db) => db.exec("UPDATE agents SET token_hash = zeroblob(32) WHERE name = 'bot'"),
    named: () => /row agt_\w+ of agents/,
  },
  {
    name: 'an agent allowed to reach what no grant names',
    apply: (db) => db.exec("UPDATE agents SET unlisted = 'tunnel' WHERE name = 'bot'"),
    named: () => /row agt_\w+ of agents/,
  },
  {
    name: 'an agent inserted',
    apply: (db) => {
      const bot = db.prepare<[], Row>("SELECT * FROM agents WHERE name = 'bot'").get();
      put(db, 'agents', { ...bot, id: 'agt_evil', name: 'evil' });
    },
    named: () => /row agt_evil of agents/,
  },
  {
    name: 'a grant inserted',
    restart: true,
    apply: (db, { spare }) => {
      const grant = db.prepare<[], Row>('SELECT * FROM grants WHERE removed_at IS NULL').get();
      put(db, 'grants', { ...grant, id: 'grt_evil', credential: spare });
    },
    named: () => /row grt_evil of grants/,
  },
  {
    name: 'sealed values swapped between two credentials',
    restart: true,
    apply: (db, { current, spare }) => {
      const live = db.prepare<[string], Row>(
        'SELECT * FROM credential_versions WHERE credential = ? ORDER BY version DESC',
      );
      const [a = {}, b = {}] = [live.get(current), live.get(spare)];
      put(db, 'credential_versions', {
        ...a,
        sealed: b.sealed ?? null,
        dek: b.dek ?? null,
        mac: b.mac ?? null,
      });
      put(db, 'credential_versions', {
        ...b,
        sealed: a.sealed ?? null,
        dek: a.dek ?? null,
        mac: a.mac ?? null,
      });
    },
    named: ({ current }) => new RegExp(`row ${current}/3 of credential_versions`),
  },
  {
    name: 'a sealed value altered, its MAC left alone',
    restart: true,
    apply: (db, { current, spare }) => {
      const other = db
        .prepare<[string], Row>('SELECT * FROM credential_versions WHERE credential = ?')
        .get(spare);
      db.prepare('UPDATE credential_versions SET sealed = ? WHERE credential = ? AND version = 3').run(
        other?.sealed,
        current,
      );
    },
    named: ({ current }) => new RegExp(`row ${current}/3 of credential_versions`),
    confined: true,
  },
  {
    name: "an old version's row put back over its tombstone",
    restart: true,
    apply: (db, { firstVersion }) => put(db, 'credential_versions', firstVersion),
    named: ({ current }) => new RegExp(`row ${current}/1 of credential_versions`),
    genuine: true,
  },
  {
    name: 'a credential taken back to its old version',
    apply: (db, { firstVersion, firstCredential }) => {
      put(db, 'credential_versions', firstVersion);
      put(db, 'credentials', firstCredential);
    },
    named: ({ current }) => new RegExp(`row ${current}(/1)? of credential`),
    genuine: true,
  },
  {
    name: 'a removed grant revived',
    restart: true,
    apply: (db, { removedGrant }) => put(db, 'grants', removedGrant),
    named: ({ removedGrant }) => new RegExp(`row ${removedGrant.id} of grants`),
    genuine: true,
  },
  {
    name: 'a tombstone deleted',
    apply: (db) => db.exec('DELETE FROM grants WHERE removed_at IS NOT NULL'),
    named: ({ removedGrant }) => new RegExp(`row ${removedGrant.id} of grants`),
    genuine: true,
  },
];
