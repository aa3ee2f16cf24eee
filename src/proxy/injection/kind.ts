/** A credential's fields by name, as a lease gives them. */
export type CredentialFields = ReadonlyMap<string, { readonly value: Buffer }>;

/**
 * One injection, compiled: writes one field line. A kind of injection is one file with a function that makes this
 * from the catalog's entry, and one line in registry.ts.
 */
export interface Placement {
  /** Lower-case name of the field that it sets. */
  readonly name: string;
  /**
   * Bytes of the line, CRLF included. Vouches for the fields: throws `credential_missing` where one is absent or
   * cannot stand in a field line.
   */
  length(fields: CredentialFields): number;
  /** Writes the line at `at`; returns the offset after it. Only after `length` vouched for the same fields. */
  write(out: Buffer, at: number, fields: CredentialFields): number;
  /** What travels instead of the fields' own bytes, if anything: a new buffer, which the caller wipes. */
  encoded(fields: CredentialFields): Buffer | undefined;
}
