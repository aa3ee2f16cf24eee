import type { Handle } from 'pkcs11js';
import type { Cryptoki } from '../cryptoki.ts';

/**
 * One way to wrap a DEK under a KEK. A profile is one file beside this one and one line in ./registry.ts. Its wrapped
 * form begins with its format byte, which it must authenticate: two profiles may share a KEK.
 */
export interface Profile {
  /** As stored with each wrapped DEK and shown by status, e.g. "aes-gcm". */
  readonly name: string;
  readonly format: number;
  /** Mechanisms that the token must list for it. */
  readonly mechanisms: readonly number[];
  /** Makes a KEK for this profile in the token: for this purpose alone, sensitive, never extractable. */
  generate(token: Cryptoki, label: string): Handle;
  /** Wraps `dek`, bound to `aad`. Throws what the calls throw. */
  wrap(token: Cryptoki, kek: Handle, dek: Buffer, aad: Buffer): Buffer;
  /** Unwraps into a buffer of its own, which the caller wipes. Throws what the calls throw, or hsm_refused. */
  unwrap(token: Cryptoki, kek: Handle, wrapped: Buffer, aad: Buffer): Buffer;
}
