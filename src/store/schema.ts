/**
 * The store. Rows of the policy tables carry `generation` (the state's counter when they were written) and `mac`
 * (HMAC-SHA-256 under the HSM's MAC key over the table's name and every other column, canonically encoded): see
 * src/vault/integrity. No row is ever deleted: a removed one stays as a tombstone (`removed_at` set, secret columns
 * null), so that putting the old row back is a rollback, which the anchored head exposes.
 */
interface Authenticated {
  generation: number;
  mac: Buffer;
}

/** RFC 3339 times, UTC. */
interface Tombstone {
  created_at: string;
  removed_at: string | null;
}

export interface AgentsTable extends Authenticated, Tombstone {
  id: string;
  name: string;
  /** SHA-256 of the token; null once removed. */
  token_hash: Buffer | null;
  /**
   * Agent's root: certificate DER, and its private key (PKCS#8 DER) sealed under a DEK of its own. Without a sealed key
   * it is in the HSM.
   */
  root_certificate: Buffer | null;
  root_key_sealed: Buffer | null;
  root_key_dek: Buffer | null;
  root_key_kek: string | null;
  /** 'tunnel': hosts that no grant names may be reached without a credential; null: they are denied. */
  unlisted: 'tunnel' | null;
  /** Which of the agent's roots `root_*` is; null: the first. */
  root_number: number | null;
  /** The root before that, while it is still trusted. */
  old_root_certificate: Buffer | null;
  old_root_key_sealed: Buffer | null;
  old_root_key_dek: Buffer | null;
  old_root_key_kek: string | null;
}

/**
 * Roots of the authority that is no agent's, for the listener that speaks TLS before it knows whose agent it meets: "proxy",
 * then "proxy-2" and so on.
 */
export interface AuthoritiesTable extends Authenticated, Tombstone {
  id: string;
  /**
   * Root: certificate DER, and its private key (PKCS#8 DER) sealed under a DEK of its own. Without a sealed key (no bytes:
   * the columns were made for one) it is in the HSM, or gone with a root that was removed.
   */
  certificate: Buffer;
  key_sealed: Buffer;
  key_dek: Buffer;
  key_kek: string;
}

export interface ServicesTable extends Authenticated, Tombstone {
  id: string;
  /** JSON in the shape of src/catalog/service.ts. Catalog entries get a row when a credential is first set. */
  definition: string;
}

export interface CredentialsTable extends Authenticated, Tombstone {
  id: string;
  service: string;
  label: string;
  current_version: number;
  /** JSON object: the non-secret fields. */
  public_fields: string;
}

export interface CredentialVersionsTable extends Authenticated, Tombstone {
  credential: string;
  version: number;
  /** JSON array of names, in the sealed order. */
  secret_fields: string;
  /** nonce ‖ ciphertext ‖ tag, see src/vault/credentials/envelope.ts; null once shredded, like the DEK. */
  sealed: Buffer | null;
  dek: Buffer | null;
  /** What the DEK is wrapped with; once shredded the newest KEK of then, or null where an earlier version did it. */
  kek: string | null;
  /** What its first DEK was first wrapped with, also once shredded; null in rows from before this column. */
  first_kek: string | null;
  /** JSON object: the public fields that it was sealed with; null in rows from before, whose are the credential's. */
  public_fields: string | null;
  /** Digest of the destinations that it is bound to (src/vault/credentials/binding.ts); null as above. */
  destinations: Buffer | null;
  /** Label of the key in the HSM that its value refers to; null: none, or (without `first_kek`) not known. */
  hsm_key: string | null;
}

export interface GrantsTable extends Authenticated, Tombstone {
  id: string;
  agent: string;
  service: string;
  credential: string;
  /** JSON arrays. */
  methods: string;
  paths: string;
}

/** One row: the state that the policy's rows make together, see src/vault/integrity/anchor.ts. */
export interface StateTable {
  id: 1;
  counter: number;
  digest: string;
  mac: Buffer;
  /** Digest over the contents of all rows; null where an earlier version wrote the record. */
  contents: string | null;
}

interface PolicySchema {
  agents: AgentsTable;
  authorities: AuthoritiesTable;
  services: ServicesTable;
  credentials: CredentialsTable;
  credential_versions: CredentialVersionsTable;
  grants: GrantsTable;
}

export interface Schema extends PolicySchema {
  state: StateTable;
}

export type PolicyTable = keyof PolicySchema;

/** Every row of the policy, removed ones included. */
export type PolicyRows = { readonly [T in PolicyTable]: readonly Schema[T][] };

/** One row together with the table that it is in. */
export type PolicyRow = { [T in PolicyTable]: { readonly table: T; readonly row: Schema[T] } }[PolicyTable];

type Columns = { readonly [T in PolicyTable]: readonly (keyof Schema[T] & string)[] };

const COMMON = ['created_at', 'removed_at', 'generation', 'mac'] as const;

/** What is read and authenticated: a column that somebody adds to the file is never looked at. */
export const COLUMNS: Columns = {
  agents: [
    'id',
    'name',
    'token_hash',
    'root_certificate',
    'root_key_sealed',
    'root_key_dek',
    'root_key_kek',
    'unlisted',
    'root_number',
    'old_root_certificate',
    'old_root_key_sealed',
    'old_root_key_dek',
    'old_root_key_kek',
    ...COMMON,
  ],
  authorities: ['id', 'certificate', 'key_sealed', 'key_dek', 'key_kek', ...COMMON],
  services: ['id', 'definition', ...COMMON],
  credentials: ['id', 'service', 'label', 'current_version', 'public_fields', ...COMMON],
  credential_versions: [
    'credential',
    'version',
    'secret_fields',
    'sealed',
    'dek',
    'kek',
    'first_kek',
    'public_fields',
    'destinations',
    'hsm_key',
    ...COMMON,
  ],
  grants: ['id', 'agent', 'service', 'credential', 'methods', 'paths', ...COMMON],
};

/** Columns that a table got after it was first released. They are null in rows from before. */
export const LATER_COLUMNS: { readonly [T in PolicyTable]?: readonly (keyof Schema[T] & string)[] } = {
  agents: [
    'unlisted',
    'root_number',
    'old_root_certificate',
    'old_root_key_sealed',
    'old_root_key_dek',
    'old_root_key_kek',
  ],
  credential_versions: ['first_kek', 'public_fields', 'destinations', 'hsm_key'],
};

/** A row's primary key, as people are shown it. */
export function rowId(entry: PolicyRow): string {
  if (entry.table !== 'credential_versions') return entry.row.id;
  return `${entry.row.credential}/${entry.row.version}`;
}

/** All rows one after the other, each with its table. */
export function* eachRow(rows: PolicyRows): Generator<PolicyRow> {
  for (const row of rows.agents) yield { table: 'agents', row };
  for (const row of rows.authorities) yield { table: 'authorities', row };
  for (const row of rows.services) yield { table: 'services', row };
  for (const row of rows.credentials) yield { table: 'credentials', row };
  for (const row of rows.credential_versions) yield { table: 'credential_versions', row };
  for (const row of rows.grants) yield { table: 'grants', row };
}
