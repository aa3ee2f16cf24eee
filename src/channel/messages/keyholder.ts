import { z } from 'zod';

/** Kinds of keys for credentials. */
export const KeyType = z.enum(['rsa-2048', 'rsa-3072', 'p-256']);
export type KeyType = z.infer<typeof KeyType>;

/**
 * vault → keyholder: requests only, answered in order. Bytes travel in parts.
 *
 * | verb         | parts asked                | parts answered          |
 * | info         |                            |                         | header: KeyholderInfo
 * | wrap         | DEK, AAD                   | wrapped DEK             | header: { kek } (its label, e.g. "kek-1")
 * | unwrap       | wrapped DEK, AAD           | DEK                     |
 * | rewrap       | wrapped DEK, AAD, … (pairs) | the same DEKs wrapped with `to`, in order |
 * | sign         | message                    | ECDSA P-256/SHA-256 signature, 64 bytes r‖s (audit key) |
 * | mac          | message, message, …        | HMAC-SHA-256 each, 32 bytes (MAC key) |
 * | agree        | uncompressed P-256 point   | 32-byte x coordinate of ECDH with the intake key |
 * | anchor.read  |                            | the anchor's bytes, or no part where none was written |
 * | anchor.write | the anchor's bytes (≤ 4 KiB) |                       |
 * | authority.make | | uncompressed P-256 point of the key that it made, under that label |
 * | authority.sign | message | ECDSA P-256/SHA-256 signature of that authority's key, 64 bytes r‖s |
 * | authority.destroy | | |
 * | authority.list | | | header: AuthoritiesReply
 * | key.make     |                            | SPKI (DER) of the pair that it made, under that label |
 * | key.public   |                            | the same, of one that is there |
 * | key.import   | bytes                      |                         | an HMAC key under that label, which does not leave the token |
 * | key.mac      | message                    | its HMAC-SHA-256, 32 bytes |
 * | key.sign     | message                    | its signature, SHA-256 with PKCS #1 v1.5, or ECDSA as r‖s |
 * | key.destroy  |                            |                         |
 * | key.list     |                            |                         | header: KeysReply
 * | rotate       |                            |                         | header: RotateReply
 * | retire       |                            |                         | header: { }
 * | health       |                            |                         | header: KeyholderHealth
 *
 * Authorities are those of agents and of the proxy whose root key is in the token; labels as in
 * src/vault/authorities/root.ts and proxy-row.ts. To destroy one that is gone already is no failure. Keys are those of
 * credentials that were born in the token, by src/vault/credentials/hsm-keys.ts.
 * `rotate` makes the KEK after `from`, which new DEKs are then wrapped with; where there is a newer one than `from`
 * already, it makes none: so it may be asked again whenever its answer was lost. It makes keys, which takes a token of
 * hardware up to a minute. `retire` destroys an old KEK: what is still wrapped with it is lost for ever. It may be asked again
 * too: one that is gone already is no failure, one that never was is.
 * `rewrap` takes DEKs from the KEK `from` to the KEK `to`, so many of them at once as `MAX_REWRAPPED`; no DEK leaves the
 * keyholder for it.
 * `health` is answered whatever state the HSM is in, without asking it.
 *
 * Failures: hsm_unavailable (device, session, module), hsm_refused (wrong AAD, tampered wrap, invalid point),
 * hsm_key_missing; invalid_argument (the newest KEK is not retired).
 */
export const KeyholderRequest = z.discriminatedUnion('verb', [
  z.strictObject({ verb: z.literal('info') }),
  z.strictObject({ verb: z.literal('wrap') }),
  z.strictObject({ verb: z.literal('unwrap'), kek: z.string() }),
  z.strictObject({ verb: z.literal('rewrap'), from: z.string(), to: z.string() }),
  z.strictObject({ verb: z.literal('sign') }),
  z.strictObject({ verb: z.literal('mac') }),
  z.strictObject({ verb: z.literal('agree') }),
  z.strictObject({ verb: z.literal('anchor.read') }),
  z.strictObject({ verb: z.literal('anchor.write') }),
  z.strictObject({ verb: z.literal('authority.make'), label: z.string() }),
  z.strictObject({ verb: z.literal('authority.sign'), label: z.string() }),
  z.strictObject({ verb: z.literal('authority.destroy'), label: z.string() }),
  z.strictObject({ verb: z.literal('authority.list') }),
  z.strictObject({ verb: z.literal('key.make'), label: z.string(), type: KeyType }),
  z.strictObject({ verb: z.literal('key.import'), label: z.string() }),
  z.strictObject({ verb: z.literal('key.mac'), label: z.string() }),
  z.strictObject({ verb: z.literal('key.public'), label: z.string() }),
  z.strictObject({ verb: z.literal('key.sign'), label: z.string() }),
  z.strictObject({ verb: z.literal('key.destroy'), label: z.string() }),
  z.strictObject({ verb: z.literal('key.list') }),
  z.strictObject({ verb: z.literal('rotate'), from: z.string() }),
  z.strictObject({ verb: z.literal('retire'), kek: z.string() }),
  z.strictObject({ verb: z.literal('health') }),
]);
/** DEKs in one `rewrap`. */
export const MAX_REWRAPPED = 1_000;
export type KeyholderRequest = z.infer<typeof KeyholderRequest>;

export const KeyholderInfo = z.strictObject({
  module: z.string(),
  token: z.string(),
  serial: z.string(),
  /** As the token says of itself. */
  manufacturer: z.string(),
  model: z.string(),
  firmware: z.string(),
  /** True for SoftHSM: it has the interface of an HSM, not the protection of hardware. */
  software: z.boolean(),
  /** All that the token lists, by name. */
  mechanisms: z.array(z.string()),
  /** Label of the KEK that new DEKs are wrapped with, and how it wraps them. */
  kek: z.string(),
  profile: z.string(),
  keys: z.array(
    z.strictObject({
      label: z.string(),
      /** CKA_ID in hex; empty where it has none. */
      id: z.string(),
      type: z.string(),
      /** As the HSM itself reports them. */
      extractable: z.boolean(),
      sensitive: z.boolean(),
      neverExtractable: z.boolean(),
      local: z.boolean(),
    }),
  ),
  /** Uncompressed P-256 points, hex: what a sender seals to, and what verifies checkpoints. */
  intakePublicKey: z.string(),
  auditPublicKey: z.string(),
});
export type KeyholderInfo = z.infer<typeof KeyholderInfo>;

/** What making the keys in a token has shown. */
export const Provisioned = KeyholderInfo.extend({
  /** Where the vault is to anchor the newest state. */
  anchor: z.enum(['token', 'file']),
});
export type Provisioned = z.infer<typeof Provisioned>;

export const WrapReply = z.strictObject({ kek: z.string() });
export type WrapReply = z.infer<typeof WrapReply>;

/** Labels of the authorities' keys that are in the token. */
export const AuthoritiesReply = z.strictObject({ labels: z.array(z.string()) });
export type AuthoritiesReply = z.infer<typeof AuthoritiesReply>;

/** Labels of the credentials' keys that are in the token. */
export const KeysReply = z.strictObject({ labels: z.array(z.string()) });
export type KeysReply = z.infer<typeof KeysReply>;

/** The newest KEK, and whether it was made for this request. */
export const RotateReply = z.strictObject({ kek: z.string(), made: z.boolean() });
export type RotateReply = z.infer<typeof RotateReply>;

export const KeyholderHealth = z.strictObject({
  /**
   * `ok`: the token is open. `failing`: it cannot be opened, and is tried again. `stopped`: it is not tried again before
   * the keyholder is started anew (a wrong PIN, which might lock the token; a module that cannot be loaded).
   */
  state: z.enum(['ok', 'failing', 'stopped']),
  /** When that state began, ISO 8601. */
  since: z.string(),
  /** How often the token was opened, and lost again. */
  opened: z.number().int(),
  lost: z.number().int(),
  /** Requests that were refused at once, since the HSM had failed a moment before. */
  refusedAtOnce: z.number().int(),
  /** What keeps the token from being opened. */
  error: z.string().nullable(),
  /** When the next request is tried on the HSM; null where every one is, or none. */
  retryInMs: z.number().int().nullable(),
  /** Of each verb asked so far: how often, how often in vain, and how long it took. */
  verbs: z.record(
    z.string(),
    z.strictObject({
      asked: z.number().int(),
      failed: z.number().int(),
      meanMicroseconds: z.number().int(),
      longestMicroseconds: z.number().int(),
    }),
  ),
});
export type KeyholderHealth = z.infer<typeof KeyholderHealth>;
