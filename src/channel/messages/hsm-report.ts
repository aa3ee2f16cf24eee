import { z } from 'zod';

/** How a thing that Sallyport needs, or a profile, did on a token. */
const Judgement = z.strictObject({
  /**
   * `works`: tried and timed. `listed`: not tried, but the token lists it. `fails`: tried. `missing`: not listed.
   * `file`: the token cannot hold it, and a file under its MAC does. `sealed`: the token cannot hold this key as a key: it would be encrypted to the token and used in the keyholder.
   */
  verdict: z.enum(['works', 'listed', 'fails', 'missing', 'sealed', 'file']),
  /** Why it fails, is missing or sealed; empty otherwise. */
  reason: z.string(),
});

export const TokenReport = z.strictObject({
  label: z.string(),
  serial: z.string(),
  manufacturer: z.string(),
  model: z.string(),
  firmware: z.string(),
  /** True for SoftHSM: it has the interface of an HSM, not the protection of hardware. */
  software: z.boolean(),
  /** All that it lists, by name. */
  mechanisms: z.array(z.string()),
  /** Why nothing was tried; null where it was. */
  untried: z.string().nullable(),
  /** Median microseconds, null where it was not tried or fails. */
  needs: z.array(Judgement.extend({ what: z.string(), p50: z.number().nullable() })),
  /** In order of preference. */
  profiles: z.array(
    Judgement.extend({
      name: z.string(),
      summary: z.string(),
      wrapP50: z.number().nullable(),
      unwrapP50: z.number().nullable(),
    }),
  ),
  /** The profile that `init` would take, null where the token cannot be used; and why, in a sentence. */
  chosen: z.string().nullable(),
  why: z.string(),
});
export type TokenReport = z.infer<typeof TokenReport>;

/** What `hsm check` finds out about a PKCS#11 module and its tokens. */
export const HsmReport = z.strictObject({
  module: z.strictObject({
    path: z.string(),
    manufacturer: z.string(),
    description: z.string(),
    version: z.string(),
    cryptoki: z.string(),
  }),
  tokens: z.array(TokenReport),
});
export type HsmReport = z.infer<typeof HsmReport>;
