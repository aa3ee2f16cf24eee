import type { Kysely } from 'kysely';
import { COLUMNS, type PolicyRows, type Schema, type StateTable } from './schema.ts';

/** Reads the whole policy as of one moment, tombstones included. Nothing is authenticated here. Throws what SQLite throws. */
export function readPolicy(db: Kysely<Schema>): Promise<PolicyRows> {
  return db.transaction().execute(async (trx) => ({
    agents: await trx.selectFrom('agents').select(COLUMNS.agents).execute(),
    services: await trx.selectFrom('services').select(COLUMNS.services).execute(),
    credentials: await trx.selectFrom('credentials').select(COLUMNS.credentials).execute(),
    credential_versions: await trx
      .selectFrom('credential_versions')
      .select(COLUMNS.credential_versions)
      .execute(),
    grants: await trx.selectFrom('grants').select(COLUMNS.grants).execute(),
  }));
}

/** The record of the state that was written last, undefined before the first change. Throws what SQLite throws. */
export function readState(db: Kysely<Schema>): Promise<StateTable | undefined> {
  return db.selectFrom('state').select(['id', 'counter', 'digest', 'mac']).executeTakeFirst();
}
