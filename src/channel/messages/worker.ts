import { z } from 'zod';
import { Snapshot } from './policy.ts';

/** vault → worker, first message: all that a worker needs to start. No secret in it. */
export const WorkerSettings = z.strictObject({
  listen: z.strictObject({ host: z.string(), port: z.number().int() }),
  /** How many workers there are: what an agent may have of all of them, each shares out. */
  workers: z.number().int().min(1),
  /** Where agents connect with TLS; null: nowhere. */
  tlsListen: z
    .strictObject({
      host: z.string(),
      port: z.number().int(),
      /** Hosts and addresses, canonical, that the certificate of the proxy's own authority is for. */
      names: z.array(z.string()),
      /** PEM chain of a given certificate, whose key comes as the part `tlsKey` of `start`; null: an own one. */
      certificate: z.string().nullable(),
    })
    .nullable(),
  /** PEM certificates trusted for upstreams besides the system's roots; empty: none. */
  upstreamCa: z.string(),
  /** PEM of the system's roots, read by the supervisor: a worker opens no file. */
  systemCa: z.string(),
  /** HOST:PORT → address and port, for `--upstream-resolve`. */
  upstreamResolve: z.array(
    z.strictObject({
      host: z.string(),
      port: z.number().int(),
      address: z.string(),
      toPort: z.number().int(),
    }),
  ),
  /** CIDR blocks of private addresses that may be dialled. */
  upstreamAllow: z.array(z.string()),
  /** The proxy through which connections go out; its password, if any, comes as the part `upstreamProxyPassword`. */
  upstreamProxy: z
    .strictObject({ host: z.string(), port: z.number().int(), user: z.string().nullable() })
    .nullable(),
  /** Our own listeners: never dialled, whatever is allowed. */
  ownListeners: z.array(z.strictObject({ host: z.string(), port: z.number().int() })),
  hotSecrets: z.strictObject({
    count: z.number().int(),
    maxAgeMs: z.number().int(),
    arenaBytes: z.number().int(),
  }),
  /** See src/settings.ts. */
  limits: z.strictObject({
    headBytes: z.number().int(),
    headFields: z.number().int(),
    targetBytes: z.number().int(),
    bodyBytes: z.number().int().nullable(),
    headTimeoutMs: z.number().int(),
    handshakeTimeoutMs: z.number().int(),
    bodyTimeoutMs: z.number().int(),
    idleTimeoutMs: z.number().int(),
    passedIdleTimeoutMs: z.number().int(),
    connectTimeoutMs: z.number().int(),
    responseTimeoutMs: z.number().int(),
    answerIdleTimeoutMs: z.number().int(),
    totalTimeoutMs: z.number().int().nullable(),
    strangers: z.number().int(),
    tunnelsPerAgent: z.number().int(),
    tunnelBurst: z.number().int(),
    tunnelsPerSecond: z.number().int(),
    leavesPerMinute: z.number().int(),
  }),
});
export type WorkerSettings = z.infer<typeof WorkerSettings>;

/** A secret that a worker needs as long as it runs, because of how serve was set up. */
export const WorkerSecret = z.enum([
  /** The private key (PEM) of the TLS listener's given certificate. */
  'tlsKey',
  /** The password for the company's proxy. */
  'upstreamProxyPassword',
]);
export type WorkerSecret = z.infer<typeof WorkerSecret>;

/** vault → worker. All requests, answered with an empty header once done, but `drain`, an event. */
export const ToWorker = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('start'),
    worker: z.string(),
    settings: WorkerSettings,
    snapshot: Snapshot,
    /** What the parts are, in their order. */
    secrets: z.array(WorkerSecret),
  }),
  /** Answered when the snapshot is in force: rights changed, live streams closed, replaced secrets wiped. */
  z.strictObject({ type: z.literal('snapshot'), snapshot: Snapshot }),
  z.strictObject({ type: z.literal('ping') }),
  /** Answered with MetricsReply. */
  z.strictObject({ type: z.literal('metrics') }),
  z.strictObject({ type: z.literal('drain') }),
]);
export type ToWorker = z.infer<typeof ToWorker>;

/** Counts since the worker's start. */
export const MetricsReply = z.strictObject({
  /** Requests and connections refused or failed, by code of errors.ts. */
  problems: z.record(z.string(), z.number().int()),
  /** How often each limit was met, by its name in src/proxy/metrics.ts. */
  limits: z.record(z.string(), z.number().int()),
});
export type MetricsReply = z.infer<typeof MetricsReply>;

/** What a signing key of AWS Signature Version 4 is good for. */
export const SigningScope = z.strictObject({
  day: z.string().regex(/^\d{8}$/),
  region: z.string().max(64),
  service: z.string().max(64),
});
export type SigningScope = z.infer<typeof SigningScope>;

/** worker → vault. */
export const FromWorker = z.discriminatedUnion('type', [
  /** Part: the agent's token as presented; SPKI DER of the worker's key. Answer: LeafReply; parts: PEM chain, 48 bytes of ticket keys. */
  z.strictObject({ type: z.literal('leaf'), agent: z.string(), host: z.string(), port: z.number().int() }),
  /** For the TLS listener. Part: SPKI DER of the worker's key. Answer: LeafReply; part: PEM chain. */
  z.strictObject({ type: z.literal('listener-leaf') }),
  /** Part: the agent's token as presented. Answer: SecretReply; parts: the fields' values, in its order. */
  z.strictObject({
    type: z.literal('secret'),
    agent: z.string(),
    rule: z.string(),
    credential: z.string(),
    version: z.number().int(),
    host: z.string(),
    port: z.number().int(),
    /** For a rule that signs: what a signing key is asked for, in place of the secret. `day`: YYYYMMDD, UTC. */
    scope: SigningScope.optional(),
    /** For a credential that is made for each request anew. */
    request: z.strictObject({ method: z.string(), path: z.string() }).optional(),
    /** For a token that is kept: the server has refused the last one (401). */
    refused: z.boolean().optional(),
  }),
  /** Event, every 100 ms while it changes: the journal's newest link. */
  z.strictObject({ type: z.literal('head'), file: z.string(), link: z.number().int(), hash: z.string() }),
]);
export type FromWorker = z.infer<typeof FromWorker>;

export const LeafReply = z.strictObject({ notAfter: z.number() });
export const SecretReply = z.strictObject({
  /** Names of the fields, and whether each is a secret (what scrubbing looks for). */
  fields: z.array(z.strictObject({ name: z.string(), secret: z.boolean() })),
  /** How long they are good for, where that is known: then they are asked for again. */
  maxAgeMs: z.number().int().min(1).optional(),
});
