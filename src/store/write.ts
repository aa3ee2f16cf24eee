import type { Kysely, Transaction } from 'kysely';
import type { PolicyRow, Schema, StateTable } from './schema.ts';

/**
 * Writes rows, new or in the place of the ones with their keys, and the state that they lead to: all in one
 * transaction. Throws what SQLite throws.
 */
export function writeRows(
  db: Kysely<Schema>,
  entries: readonly PolicyRow[],
  state: Omit<StateTable, 'id'>,
): Promise<void> {
  return db.transaction().execute(async (trx) => {
    for (const entry of entries) await writeRow(trx, entry);
    await trx
      .insertInto('state')
      .values({ id: 1, ...state })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(state))
      .execute();
  });
}

async function writeRow(trx: Transaction<Schema>, entry: PolicyRow): Promise<void> {
  switch (entry.table) {
    case 'agents':
      await trx
        .insertInto('agents')
        .values(entry.row)
        .onConflict((conflict) => conflict.column('id').doUpdateSet(entry.row))
        .execute();
      break;
    case 'authorities':
      await trx
        .insertInto('authorities')
        .values(entry.row)
        .onConflict((conflict) => conflict.column('id').doUpdateSet(entry.row))
        .execute();
      break;
    case 'services':
      await trx
        .insertInto('services')
        .values(entry.row)
        .onConflict((conflict) => conflict.column('id').doUpdateSet(entry.row))
        .execute();
      break;
    case 'credentials':
      await trx
        .insertInto('credentials')
        .values(entry.row)
        .onConflict((conflict) => conflict.column('id').doUpdateSet(entry.row))
        .execute();
      break;
    case 'credential_versions':
      await trx
        .insertInto('credential_versions')
        .values(entry.row)
        .onConflict((conflict) => conflict.columns(['credential', 'version']).doUpdateSet(entry.row))
        .execute();
      break;
    case 'grants':
      await trx
        .insertInto('grants')
        .values(entry.row)
        .onConflict((conflict) => conflict.column('id').doUpdateSet(entry.row))
        .execute();
      break;
  }
}
