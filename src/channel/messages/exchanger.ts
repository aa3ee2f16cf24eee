import { z } from 'zod';
import { WorkerSettings } from './worker.ts';

/** A text, or the bytes of the part of that name. Secrets are parts. */
const Value = z.union([z.strictObject({ text: z.string() }), z.strictObject({ part: z.string() })]);
export type Value = z.infer<typeof Value>;

/** What is asked of a token endpoint: one POST. */
export const TokenRequest = z.strictObject({
  /** https. */
  url: z.string(),
  authorization: z.discriminatedUnion('scheme', [
    z.strictObject({ scheme: z.literal('none') }),
    /** RFC 6749, 2.3.1: both form-encoded before they are joined. */
    z.strictObject({ scheme: z.literal('basic'), user: Value, password: Value }),
    z.strictObject({ scheme: z.literal('bearer'), token: Value }),
  ]),
  body: z.enum(['form', 'json', 'none']),
  parameters: z.array(z.strictObject({ name: z.string(), value: Value })),
  /** The member of the answer that is the token. */
  member: z.enum(['access_token', 'token']),
});
export type TokenRequest = z.infer<typeof TokenRequest>;

/** vault → exchanger, once: it answers and ends. `parts` names the parts, in their order. */
export const ExchangeRequest = z.strictObject({
  /** The rules that workers keep as well: whom to trust, where to dial. */
  settings: WorkerSettings.pick({
    upstreamCa: true,
    systemCa: true,
    upstreamResolve: true,
    upstreamAllow: true,
    upstreamProxy: true,
    ownListeners: true,
  }),
  /** For all of it: name, connection, request and answer. */
  timeoutMs: z.number().int(),
  request: TokenRequest,
  parts: z.array(z.string()),
});
export type ExchangeRequest = z.infer<typeof ExchangeRequest>;

/**
 * What the token endpoint said. `token`: parts are the token and, where there is one, a new refresh token. `refused`: it
 * understood and said no. Whatever else happens is a failure, exchange_failed.
 */
export const ExchangeReply = z.discriminatedUnion('outcome', [
  z.strictObject({
    outcome: z.literal('token'),
    /** How long from now the token is good for; null where the server does not say. */
    lifetimeMs: z.number().int().nullable(),
  }),
  z.strictObject({
    outcome: z.literal('refused'),
    status: z.number().int(),
    /** RFC 6749, 5.2: `invalid_grant` and the like; null where it said none that is fit to be repeated. */
    error: z.string().nullable(),
  }),
]);
export type ExchangeReply = z.infer<typeof ExchangeReply>;
