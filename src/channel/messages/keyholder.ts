import { z } from 'zod';

/**
 * vault → keyholder: requests only, answered in order. Bytes travel in parts.
 *
 * | verb         | parts asked                | parts answered          |
 * | info         |                            |                         | header: KeyholderInfo
 * | wrap         | DEK, AAD                   | wrapped DEK             | header: { kek } (its label, e.g. "kek-1")
 * | unwrap       | wrapped DEK, AAD           | DEK                     |
 * | sign         | message                    | ECDSA P-256/SHA-256 signature, 64 bytes r‖s (audit key) |
 * | mac          | message, message, …        | HMAC-SHA-256 each, 32 bytes (MAC key) |
 * | agree        | uncompressed P-256 point   | 32-byte x coordinate of ECDH with the intake key |
 * | anchor.read  |                            | the anchor's bytes, or no part where none was written |
 * | anchor.write | the anchor's bytes (≤ 4 KiB) |                       |
 *
 * Failures: hsm_unavailable (device, session, module), hsm_refused (wrong AAD, tampered wrap, invalid point),
 * hsm_key_missing.
 */
export const KeyholderRequest = z.discriminatedUnion('verb', [
  z.strictObject({ verb: z.literal('info') }),
  z.strictObject({ verb: z.literal('wrap') }),
  z.strictObject({ verb: z.literal('unwrap'), kek: z.string() }),
  z.strictObject({ verb: z.literal('sign') }),
  z.strictObject({ verb: z.literal('mac') }),
  z.strictObject({ verb: z.literal('agree') }),
  z.strictObject({ verb: z.literal('anchor.read') }),
  z.strictObject({ verb: z.literal('anchor.write') }),
]);
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

export const WrapReply = z.strictObject({ kek: z.string() });
export type WrapReply = z.infer<typeof WrapReply>;
