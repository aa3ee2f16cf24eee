/**
 * The store. Rows of `agents`, `services`, `credentials`, `credential_versions` and `grants` carry `generation` (the
 * state's counter when they were written) and `mac` (HMAC-SHA-256 under the HSM's MAC key over the table's name and
 * every other column, canonically encoded): see ../integrity. A removed row stays as a tombstone (`removed_at` set,
 * secret columns null), so that putting the old row back is a rollback, which the anchored head exposes.
 */
interface Authenticated {
  generation: number;
  mac: Buffer;
}

interface Tombstone {
  created_at: string;
  removed_at: string | null;
}

export interface AgentsTable extends Authenticated, Tombstone {
  id: string;
  name: string;
  /** SHA-256 of the token; null once removed. */
  token_hash: Buffer | null;
  /** Agent's root: certificate DER, and its private key (PKCS#8 DER) sealed under a DEK of its own. */
  root_certificate: Buffer | null;
  root_key_sealed: Buffer | null;
  root_key_dek: Buffer | null;
  root_key_kek: string | null;
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
  /** nonce ‖ ciphertext ‖ tag, see ../credentials/envelope.ts; null once shredded. */
  sealed: Buffer | null;
  dek: Buffer | null;
  kek: string | null;
  profile: string | null;
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

/** Facts that need no authentication or carry their own: public keys as last seen, the anchor's fallback. */
export interface MetaTable {
  key: string;
  value: string;
}

export interface Schema {
  agents: AgentsTable;
  services: ServicesTable;
  credentials: CredentialsTable;
  credential_versions: CredentialVersionsTable;
  grants: GrantsTable;
  meta: MetaTable;
}
