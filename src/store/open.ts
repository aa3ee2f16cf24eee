import SQLite from 'better-sqlite3';
import { Kysely, SqliteDialect, sql } from 'kysely';
import { DEFAULT_MIGRATION_TABLE, Migrator } from 'kysely/migration';
import { SallyportError } from '../errors.ts';
import { MIGRATIONS } from './migrations.ts';
import type { Schema } from './schema.ts';

/** An open database. `pragma` reads or sets one of SQLite's own, where Kysely has no word for it. */
export interface Store {
  readonly db: Kysely<Schema>;
  readonly path: string;
  pragma(text: string): unknown;
  close(): void;
}

/** How long a statement waits for another process's lock, in milliseconds: the whole process waits with it. */
const BUSY_MS = 500;

/**
 * Opens the database at `path` for reading only: what the CLI does where no vault runs. Throws store_unavailable,
 * store_version.
 */
export async function openReadOnly(path: string): Promise<Store> {
  const store = open(path, { readonly: true, fileMustExist: true });
  return checked(store, async () => {
    await migrate(store, false);
    return store;
  });
}

/**
 * Opens the database for its one writer, and brings it to this version's form. Every commit is synced before it
 * counts, and what is deleted is overwritten. Throws store_unavailable, store_version.
 */
export async function openWritable(path: string): Promise<Store> {
  const store = open(path, { fileMustExist: true });
  return checked(store, () => prepare(store));
}

/** Creates the database at `path`, where none may be. Its mode follows the umask. Throws store_unavailable. */
export async function createStore(path: string): Promise<void> {
  const store = open(path, {});
  await checked(store, () => prepare(store));
  store.close();
}

function open(path: string, options: SQLite.Options): Store {
  try {
    const sqlite = new SQLite(path, { ...options, timeout: BUSY_MS });
    return {
      db: new Kysely<Schema>({ dialect: new SqliteDialect({ database: sqlite }) }),
      path,
      pragma: (text) => sqlite.pragma(text, { simple: true }),
      close: () => void sqlite.close(),
    };
  } catch (cause) {
    throw unavailable(path, cause);
  }
}

async function prepare(store: Store): Promise<Store> {
  store.pragma('journal_mode = WAL');
  store.pragma('synchronous = FULL');
  store.pragma('secure_delete = ON');
  store.pragma('foreign_keys = ON');
  store.pragma('trusted_schema = OFF');
  await migrate(store, true);
  return store;
}

/** Brings the store to this version's form, or (not `write`) makes sure that it has it. */
async function migrate(store: Store, write: boolean): Promise<void> {
  const provider = { getMigrations: async () => ({ ...MIGRATIONS }) };
  const migrator = new Migrator({ db: store.db, provider });
  const known = await migrator.getMigrations();
  if (await hasUnknown(store)) {
    throw new SallyportError(
      'store_version',
      'The database was written by a newer version of Sallyport: run that version, or restore an older backup.',
    );
  }
  if (write) {
    const { error } = await migrator.migrateToLatest();
    if (error !== undefined) throw error;
  } else if (known.some((migration) => migration.executedAt === undefined)) {
    throw new SallyportError(
      'store_version',
      'The database has the form of an earlier version: start `sallyport serve` once, which brings it up to date.',
    );
  }
}

/** Whether migrations were run that this version does not know. */
async function hasUnknown(store: Store): Promise<boolean> {
  const tables = await store.db.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some((table) => table.name === DEFAULT_MIGRATION_TABLE)) return false;
  const run = await sql<{ name: string }>`SELECT name FROM ${sql.table(DEFAULT_MIGRATION_TABLE)}`.execute(
    store.db,
  );
  return run.rows.some(({ name }) => !Object.hasOwn(MIGRATIONS, name));
}

async function checked<T>(store: Store, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    store.close();
    if (error instanceof SallyportError) throw error;
    throw unavailable(store.path, error);
  }
}

/** Wraps what SQLite says about a file that it cannot read or write. */
export function unavailable(path: string, cause: unknown): SallyportError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new SallyportError(
    'store_unavailable',
    `The database ${path} cannot be used (${why}): check that the file is there, whole, and that its disk has room.`,
    { cause },
  );
}
