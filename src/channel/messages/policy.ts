import { z } from 'zod';

/** How a rule writes its credential into a request: the catalog's `inject`, non-secret names filled in. */
export const Injection = z.discriminatedUnion('in', [
  /** `value` is a template: text with `{field}` placeholders, filled from the credential's fields as bytes. */
  z.strictObject({ in: z.literal('header'), name: z.string(), value: z.string() }),
  z.strictObject({ in: z.literal('basic'), username: z.string(), password: z.string() }),
  /** A kind that this version cannot perform: the request is refused with `injection_unsupported`. */
  z.strictObject({ in: z.literal('unsupported'), kind: z.string() }),
]);
export type Injection = z.infer<typeof Injection>;

/** A destination that a rule covers. `pattern`: lower-case A-label host, "*.x" (one label) or "**.x" (one or more). */
export const RuleHost = z.strictObject({
  pattern: z.string(),
  port: z.number().int().min(1).max(65535),
  /** Path patterns of the service on this host: a prefix, or with "*" a glob; empty: every path. */
  paths: z.array(z.string()),
});
export type RuleHost = z.infer<typeof RuleHost>;

/** A compiled grant: this agent may use this credential version, here, within these methods and paths. */
export const Rule = z.strictObject({
  id: z.string(),
  agent: z.string(),
  service: z.string(),
  credential: z.string(),
  version: z.number().int().min(1),
  hosts: z.array(RuleHost),
  /** Upper-case; empty: every method. */
  methods: z.array(z.string()),
  /** Prefixes from the grant; empty: every path. */
  paths: z.array(z.string()),
  inject: z.array(Injection),
  /** Set where the vault makes what is written of the credential: `kept` for a while, or `per-request`, of its method and path. */
  token: z.enum(['kept', 'per-request']).optional(),
  /** Whether the credential may go out over plain http too, at the ports of `hosts`. */
  plainHttp: z.boolean(),
  /** Whether its servers are spoken to over HTTP/2; else only where a request needs it (gRPC). */
  http2: z.boolean(),
  /** The service's own limit of a request's body, in bytes; null: the one of the settings. */
  bodyBytes: z.number().int().nullable(),
  /** Set where a row behind this rule failed authentication: the rule refuses with `integrity_failed`. */
  integrity: z.string().nullable(),
});
export type Rule = z.infer<typeof Rule>;

export const SnapshotAgent = z.strictObject({
  id: z.string(),
  name: z.string(),
  /** SHA-256 of each token that is valid now, lower-case hex. */
  tokens: z.array(z.string().regex(/^[0-9a-f]{64}$/)),
  /** What becomes of hosts that no rule of this agent names: refused, or passed on unseen and without a credential. */
  unlisted: z.enum(['deny', 'tunnel']),
  /** Names what its leaves come from: those made before it changed are not shown any more. */
  authority: z.string(),
  integrity: z.string().nullable(),
});

export type SnapshotAgent = z.infer<typeof SnapshotAgent>;

/** All that a worker knows of the policy: no secret in it. Replaced whole; `revision` only grows. */
export const Snapshot = z.strictObject({
  revision: z.number().int(),
  /** Set where the whole state failed authentication: everything is refused with `integrity_failed`. */
  integrity: z.string().nullable(),
  agents: z.array(SnapshotAgent),
  rules: z.array(Rule),
});
export type Snapshot = z.infer<typeof Snapshot>;
