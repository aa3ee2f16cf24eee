import type { Handle } from 'pkcs11js';
import type { Cryptoki } from '../cryptoki.ts';
import type { Naming } from '../generate.ts';
import type { HeldKey } from '../held-key.ts';

/** One version of the KEK in the token: one profile's, and used by that profile alone. */
export interface Kek {
  readonly label: string;
  /** The secret or private key. */
  readonly key: Handle;
  /** Of a pair: what DEKs are encrypted to, read and proven when the token was opened. As the profile takes it. */
  readonly publicKey: Buffer | undefined;
  /** The HMAC key of profiles that cannot authenticate the AAD themselves. */
  readonly bind: HeldKey | undefined;
}

/**
 * One way to wrap a DEK under a KEK. A profile is one file beside this one and one line in ./registry.ts. Its wrapped
 * form begins with its format byte, which it authenticates.
 */
export interface Profile {
  /** As shown by status, e.g. "aes-gcm". */
  readonly name: string;
  /** First byte of what it wraps, and of its KEK's CKA_ID. Never used again for anything else. */
  readonly format: number;
  /** One line for `hsm check`. */
  readonly summary: string;
  /** Mechanisms that the token must list: of each group at least one. */
  readonly mechanisms: readonly (readonly number[])[];
  /** Whether the KEK is a secret key, or a pair whose public half wraps. */
  readonly kek: 'secret' | 'pair';
  /** Whether it needs an HMAC key of its own to bind the AAD. */
  readonly binds: boolean;
  /** False where wrapping a DEK twice gives the same bytes. */
  readonly randomised: boolean;
  /** Makes a KEK in the token: for this purpose alone, sensitive, never extractable. Gives every object it made. */
  generate(token: Cryptoki, naming: Naming): Handle[];
  /** Reads the public half of a KEK that is a pair. Throws hsm_refused, and what the calls throw. */
  readPublicKey?(token: Cryptoki, object: Handle): Buffer;
  /** Wraps `dek`, bound to `aad`. Throws what the calls throw. */
  wrap(token: Cryptoki, kek: Kek, dek: Buffer, aad: Buffer): Buffer;
  /** Unwraps into memory of its own, which the caller wipes. Throws what the calls throw, or hsm_refused. */
  unwrap(token: Cryptoki, kek: Kek, wrapped: Buffer, aad: Buffer): Buffer;
}
