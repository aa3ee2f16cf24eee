import { z } from 'zod';

/** How a rule writes its credential into a request: the catalog's `inject`, non-secret names filled in. */
export const Injection = z.discriminatedUnion('in', [
  /** `value` is a template: text with `{field}` placeholders, filled from the credential's fields as bytes. */
  z.strictObject({ in: z.literal('header'), name: z.string(), value: z.string() }),
  z.strictObject({ in: z.literal('basic'), username: z.string(), password: z.string() }),
  /**
   * The request is signed anew (AWS Signature Version 4) with a key of the day, region and service, which the vault
   * derives. `placeholder`: the access key that agents sign with; what is presigned with another one is refused.
   */
  z.strictObject({ in: z.literal('sigv4'), placeholder: z.string().nullable() }),
  /** The connection shows a certificate: the field that `value` names is its chain and its key, in PEM. */
  z.strictObject({ in: z.literal('client_certificate'), value: z.string() }),
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

/** A service's own limits of its requests, in bytes and milliseconds; null: the one of the settings. */
export const ServiceLimits = z.strictObject({
  bodyBytes: z.number().int().nullable(),
  /** Until there is a connection to its server. */
  connectTimeoutMs: z.number().int().nullable(),
  /** From a request's end to its answer's head. */
  responseTimeoutMs: z.number().int().nullable(),
  /** Without a byte either way, once the answer has begun. */
  idleTimeoutMs: z.number().int().nullable(),
  /** From a request's head to the end of its answer. */
  totalTimeoutMs: z.number().int().nullable(),
});
export type ServiceLimits = z.infer<typeof ServiceLimits>;

export const NO_LIMITS: ServiceLimits = {
  bodyBytes: null,
  connectTimeoutMs: null,
  responseTimeoutMs: null,
  idleTimeoutMs: null,
  totalTimeoutMs: null,
};

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
  /** Where the vault has it made: no agent asks there. */
  tokenEndpoint: z.strictObject({ host: z.string(), port: z.number().int(), path: z.string() }).optional(),
  /** Whether the credential may go out over plain http too, at the ports of `hosts`. */
  plainHttp: z.boolean(),
  /** Whether its servers are spoken to over HTTP/2; else only where a request needs it (gRPC). */
  http2: z.boolean(),
  limits: ServiceLimits,
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
  /**
   * Set while the policy has not been authenticated: the code of what keeps the HSM from it. Everything is refused with
   * `hsm_unavailable`.
   */
  unread: z.string().nullable(),
  /** Set where the whole state failed authentication: everything is refused with `integrity_failed`. */
  integrity: z.string().nullable(),
  /** Names what the TLS listener's own certificate comes from: one made before it changed is not shown any more. */
  listenerAuthority: z.string(),
  agents: z.array(SnapshotAgent),
  rules: z.array(Rule),
});
export type Snapshot = z.infer<typeof Snapshot>;
