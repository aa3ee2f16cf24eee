import { SallyportError } from '../errors.ts';
import { readFields, readNames } from './columns.ts';
import { keksBetween } from './keks.ts';
import type { CredentialVersionsTable, PolicyRows } from './schema.ts';

/** Names a credential: by its id (a removed one too), or by the service and the label that it is known under. */
export type Which = { readonly id: string } | { readonly service: string; readonly label: string };

/** What has to be destroyed before no copy of a shredded version (in a backup) can be opened any more. */
export interface Shredding {
  /** Labels of the keys in the HSM that open one; null: an earlier version of Sallyport shredded it and noted none. */
  readonly keys: readonly string[] | null;
  /** Those of them that the token holds; null: not known, for want of `keys` or of the token. */
  readonly left: readonly string[] | null;
  /** Whether none is left, as far as this token tells: copies of the token may hold them. Null: not known. */
  readonly complete: boolean | null;
}

/** One version of a credential, as it is listed. */
export interface VersionEntry {
  readonly credential: string;
  readonly version: number;
  readonly state: 'current' | 'kept' | 'shredded';
  /** Label of the KEK under which its data key is wrapped; null once shredded. */
  readonly kek: string | null;
  /** Label of the key in the HSM that is its value; null: it is sealed, or a row of an earlier form does not say. */
  readonly hsmKey: string | null;
  /** What it was set with, and is rolled back to with; null: a row of an earlier form does not say. */
  readonly publicFields: Readonly<Record<string, string>> | null;
  readonly created: string;
  /** When it was shredded. */
  readonly shredded: string | null;
  /** Null while it is not shredded. */
  readonly shredding: Shredding | null;
}

/**
 * All versions of a credential, newest first. `held`: labels of the keys that the token holds, undefined where that is
 * not known. Throws not_found.
 */
export function listVersions(
  rows: PolicyRows,
  which: Which,
  held: ReadonlySet<string> | undefined,
): VersionEntry[] {
  const credential = rows.credentials.find((row) =>
    'id' in which
      ? row.id === which.id
      : row.service === which.service && row.label === which.label && row.removed_at === null,
  );
  if (!credential) throw unknown(which);
  return rows.credential_versions
    .filter((row) => row.credential === credential.id)
    .sort((a, b) => b.version - a.version)
    .map((row) => ({
      credential: credential.id,
      version: row.version,
      state:
        row.sealed === null ? 'shredded' : row.version === credential.current_version ? 'current' : 'kept',
      kek: row.sealed === null ? null : row.kek,
      hsmKey: row.hsm_key,
      publicFields: row.public_fields === null ? null : readFields(row.public_fields),
      created: row.created_at,
      shredded: row.removed_at,
      shredding: row.sealed === null ? shreddingOf(row, held) : null,
    }));
}

/** Of a shredded version. */
export function shreddingOf(row: CredentialVersionsTable, held: ReadonlySet<string> | undefined): Shredding {
  const keys = keysOf(row);
  const left = keys && held ? keys.filter((label) => held.has(label)) : null;
  return { keys, left, complete: left && left.length === 0 };
}

/** Of several versions together. */
export function shreddingOfAll(
  rows: readonly CredentialVersionsTable[],
  held: ReadonlySet<string> | undefined,
): Shredding {
  const each = rows.map((row) => shreddingOf(row, held));
  const union = (lists: readonly (readonly string[] | null)[]): string[] | null =>
    lists.includes(null) ? null : [...new Set(lists.flatMap((list) => list ?? []))];
  const left = union(each.map((one) => one.left));
  return { keys: union(each.map((one) => one.keys)), left, complete: left && left.length === 0 };
}

/** Where the key is in the HSM and nothing is sealed but its name, that key is all there is to destroy. */
function keysOf(row: CredentialVersionsTable): string[] | null {
  const own = row.hsm_key === null ? [] : [row.hsm_key];
  if (row.hsm_key !== null && readNames(row.secret_fields).length === 1) return own;
  return row.kek === null ? null : [...own, ...keksBetween(row.first_kek, row.kek)];
}

function unknown(which: Which): SallyportError {
  const what =
    'id' in which
      ? `No credential has or had the id ${which.id}`
      : `${which.service} has no credential with the label ${which.label}`;
  return new SallyportError('not_found', `${what}; \`sallyport credential list\` shows them.`);
}
