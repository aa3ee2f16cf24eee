import { type Kysely, sql } from 'kysely';
import { SCHEMA } from './migrations.ts';
import { type Store, unavailable } from './open.ts';
import { COLUMNS, type PolicyRows, type Schema, type StateTable } from './schema.ts';

/** Reads the whole policy as of one moment, tombstones included. Nothing is authenticated here. Throws what SQLite throws. */
export function readPolicy(db: Kysely<Schema>): Promise<PolicyRows> {
  return db.transaction().execute(async (trx) => ({
    agents: await trx.selectFrom('agents').select(COLUMNS.agents).execute(),
    authorities: await trx.selectFrom('authorities').select(COLUMNS.authorities).execute(),
    services: await trx.selectFrom('services').select(COLUMNS.services).execute(),
    credentials: await trx.selectFrom('credentials').select(COLUMNS.credentials).execute(),
    credential_versions: await trx
      .selectFrom('credential_versions')
      .select(COLUMNS.credential_versions)
      .execute(),
    grants: await trx.selectFrom('grants').select(COLUMNS.grants).execute(),
  }));
}

/** The whole policy, or undefined where the tables are not ours to be read. Throws store_unavailable. */
export async function readOwnPolicy({ db, path }: Store): Promise<PolicyRows | undefined> {
  try {
    return (await hasOwnSchema(db)) ? await readPolicy(db) : undefined;
  } catch (cause) {
    throw unavailable(path, cause);
  }
}

/** The record of the state that was written last, undefined before the first change. Throws what SQLite throws. */
export function readState(db: Kysely<Schema>): Promise<StateTable | undefined> {
  return db.selectFrom('state').select(['id', 'counter', 'digest', 'mac', 'contents']).executeTakeFirst();
}

/**
 * Whether the store's tables and indexes are those that this version made, and nothing is there besides. Whoever writes
 * the file could otherwise loosen a column's type, or add a trigger that changes what is written.
 */
export async function hasOwnSchema(db: Kysely<Schema>): Promise<boolean> {
  const found = await sql<{ sql: string }>`
    SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name NOT IN ('kysely_migration', 'kysely_migration_lock')
  `.execute(db);
  return found.rows.length === SCHEMA.size && found.rows.every((row) => SCHEMA.has(row.sql));
}
