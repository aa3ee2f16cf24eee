import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';

/**
 * The store's versions, oldest first, listed here and not found in a folder: what runs is what was built. STRICT
 * tables: a value of another type than its column's is refused by SQLite itself.
 */
export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001-policy': { up: createPolicyTables },
  '0002-unlisted': { up: addUnlisted },
  '0003-authorities': { up: createAuthorities },
  '0004-old-roots': { up: addOldRoots },
  '0005-contents': { up: addContents },
  '0006-version-history': { up: addVersionHistory },
};

const COMMON = `
  created_at TEXT NOT NULL,
  removed_at TEXT,
  generation INTEGER NOT NULL,
  mac BLOB NOT NULL`;

const AGENTS = `CREATE TABLE agents (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    token_hash BLOB,
    root_certificate BLOB,
    root_key_sealed BLOB,
    root_key_dek BLOB,
    root_key_kek TEXT,${COMMON}
  ) STRICT`;
const UNLISTED = 'unlisted TEXT';
const OLD_ROOT = [
  'root_number INTEGER',
  'old_root_certificate BLOB',
  'old_root_key_sealed BLOB',
  'old_root_key_dek BLOB',
  'old_root_key_kek TEXT',
];

const STATE = `CREATE TABLE state (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    counter INTEGER NOT NULL,
    digest TEXT NOT NULL,
    mac BLOB NOT NULL
  ) STRICT`;
const CONTENTS = 'contents TEXT';

const VERSIONS = `CREATE TABLE credential_versions (
    credential TEXT NOT NULL REFERENCES credentials (id),
    version INTEGER NOT NULL,
    secret_fields TEXT NOT NULL,
    sealed BLOB,
    dek BLOB,
    kek TEXT,${COMMON},
    PRIMARY KEY (credential, version)
  ) STRICT`;
const VERSION_HISTORY = ['first_kek TEXT', 'public_fields TEXT', 'destinations BLOB', 'hsm_key TEXT'];

const TABLES = [
  'CREATE UNIQUE INDEX agents_name ON agents (name) WHERE removed_at IS NULL',
  `CREATE TABLE services (
    id TEXT NOT NULL PRIMARY KEY,
    definition TEXT NOT NULL,${COMMON}
  ) STRICT`,
  `CREATE TABLE credentials (
    id TEXT NOT NULL PRIMARY KEY,
    service TEXT NOT NULL REFERENCES services (id),
    label TEXT NOT NULL,
    current_version INTEGER NOT NULL,
    public_fields TEXT NOT NULL,${COMMON}
  ) STRICT`,
  'CREATE UNIQUE INDEX credentials_label ON credentials (service, label) WHERE removed_at IS NULL',
  `CREATE TABLE grants (
    id TEXT NOT NULL PRIMARY KEY,
    agent TEXT NOT NULL REFERENCES agents (id),
    service TEXT NOT NULL REFERENCES services (id),
    credential TEXT NOT NULL REFERENCES credentials (id),
    methods TEXT NOT NULL,
    paths TEXT NOT NULL,${COMMON}
  ) STRICT`,
  'CREATE UNIQUE INDEX grants_pair ON grants (agent, credential) WHERE removed_at IS NULL',
];

const AUTHORITIES = `CREATE TABLE authorities (
    id TEXT NOT NULL PRIMARY KEY,
    certificate BLOB NOT NULL,
    key_sealed BLOB NOT NULL,
    key_dek BLOB NOT NULL,
    key_kek TEXT NOT NULL,${COMMON}
  ) STRICT`;

/** What the schema of a store of this version consists of, word for word, Kysely's own tables aside. */
export const SCHEMA: ReadonlySet<string> = new Set([
  [UNLISTED, ...OLD_ROOT].reduce(withColumn, AGENTS),
  ...TABLES,
  VERSION_HISTORY.reduce(withColumn, VERSIONS),
  withColumn(STATE, CONTENTS),
  AUTHORITIES,
]);

async function createPolicyTables(db: Kysely<unknown>): Promise<void> {
  for (const statement of [AGENTS, ...TABLES, VERSIONS, STATE]) await sql.raw(statement).execute(db);
}

async function addUnlisted(db: Kysely<unknown>): Promise<void> {
  await sql.raw(`ALTER TABLE agents ADD COLUMN ${UNLISTED}`).execute(db);
}

async function createAuthorities(db: Kysely<unknown>): Promise<void> {
  await sql.raw(AUTHORITIES).execute(db);
}

async function addOldRoots(db: Kysely<unknown>): Promise<void> {
  for (const column of OLD_ROOT) await sql.raw(`ALTER TABLE agents ADD COLUMN ${column}`).execute(db);
}

async function addContents(db: Kysely<unknown>): Promise<void> {
  await sql.raw(`ALTER TABLE state ADD COLUMN ${CONTENTS}`).execute(db);
}

async function addVersionHistory(db: Kysely<unknown>): Promise<void> {
  for (const column of VERSION_HISTORY)
    await sql.raw(`ALTER TABLE credential_versions ADD COLUMN ${column}`).execute(db);
}

/** How SQLite writes a STRICT table down once the column was added to it: after the last one, before what holds for all. */
function withColumn(table: string, column: string): string {
  const constraint = table.indexOf(',\n    PRIMARY KEY');
  const end = constraint < 0 ? table.lastIndexOf(')') : constraint;
  return `${table.slice(0, end)}, ${column}${table.slice(end)}`;
}
