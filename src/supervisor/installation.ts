import { z } from 'zod';

/** `sallyport.json` in the data folder: what `init` chose, once. No secret in it. */
export const Installation = z.strictObject({
  format: z.literal(1),
  pkcs11Module: z.string(),
  pkcs11Token: z.string(),
  /** Its serial number, where another token of the module carries the label too. */
  pkcs11Serial: z.string().nullable().default(null),
  /** True: the token lies in the data folder's `token/`. False: it was given, with the environment it needs. */
  ownToken: z.boolean(),
  /** Variables that the given token's module needs (SOFTHSM2_CONF and the like); empty for our own token. */
  moduleEnvironment: z.record(z.string(), z.string()),
  pinFile: z.string().nullable(),
  /** Where the keys of authorities are made: sealed in the store, or in the HSM. */
  authorityKeys: z.enum(['wrapped', 'hsm']).default('wrapped'),
  /** Where the newest state of the store is anchored: in a data object of the token or, where it keeps none, in a file. */
  anchor: z.enum(['token', 'file']).default('token'),
  /** Uncompressed P-256 points, hex. */
  intakePublicKey: z.string(),
  auditPublicKey: z.string(),
});
export type Installation = z.infer<typeof Installation>;

/** How a program of the keyholder is told which token to use. */
export function tokenArguments({
  pkcs11Module,
  pkcs11Token,
  pkcs11Serial,
}: Pick<Installation, 'pkcs11Module' | 'pkcs11Token' | 'pkcs11Serial'>): string[] {
  const serial = pkcs11Serial === null ? [] : ['--slot-serial', pkcs11Serial];
  return ['--module', pkcs11Module, '--token', pkcs11Token, ...serial];
}
