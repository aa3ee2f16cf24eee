import { type Kysely, sql, type Transaction } from 'kysely';
import { COLUMNS, type PolicyRow, type PolicyTable, type Schema, type StateTable } from './schema.ts';

/** Rows in one statement: most of what a row costs is the statement around it. */
const AT_ONCE = 100;

/** In this order each row finds those that it refers to. */
const ORDER: readonly PolicyTable[] = [
  'agents',
  'authorities',
  'services',
  'credentials',
  'credential_versions',
  'grants',
];

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
    for (const table of ORDER) {
      const of = entries.filter((entry) => entry.table === table);
      for (let at = 0; at < of.length; at += AT_ONCE) await put(trx, table, of.slice(at, at + AT_ONCE));
    }
    await trx
      .insertInto('state')
      .values({ id: 1, ...state })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(state))
      .execute();
  });
}

async function put(
  trx: Transaction<Schema>,
  table: PolicyTable,
  entries: readonly PolicyRow[],
): Promise<void> {
  const columns: readonly string[] = COLUMNS[table];
  const key = table === 'credential_versions' ? ['credential', 'version'] : ['id'];
  const rows = entries.map(({ row }) => {
    const values: Readonly<Record<string, unknown>> = { ...row };
    return sql`(${sql.join(columns.map((column) => values[column]))})`;
  });
  const replaced = columns
    .filter((column) => !key.includes(column))
    .map((column) => sql`${sql.ref(column)} = ${sql.ref(`excluded.${column}`)}`);
  await sql`
    INSERT INTO ${sql.table(table)} (${refs(columns)}) VALUES ${sql.join(rows)}
    ON CONFLICT (${refs(key)}) DO UPDATE SET ${sql.join(replaced)}
  `.execute(trx);
}

function refs(columns: readonly string[]) {
  return sql.join(columns.map((column) => sql.ref(column)));
}
