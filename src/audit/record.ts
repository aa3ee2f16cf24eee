import { z } from 'zod';

/**
 * A journal is one file per run of a process (`journal/<start>-<process>.ndjson`, see files.ts), NDJSON in ASCII, in
 * batches: the lines of one turn of the event loop, then one link line `{"link":n,"hash":h}`, n counting from 1, where
 * h = SHA-256 (hex) over the previous link's hash (64 hex digits; for the first link, SHA-256 of the file's name) and
 * the bytes of the batch's lines, newlines included. Only a batch whose link is there counts as written.
 *
 * A worker's journal holds `request`, `outcome` and `scrub` records, the vault's all the others.
 */
export const Decision = z.enum(['injected', 'passed', 'denied', 'refused']);

/** Written before a request is forwarded (or instead of forwarding it). */
export const RequestRecord = z.object({
  type: z.literal('request'),
  /** Unique within the file; `outcome` refers to it. */
  id: z.number().int(),
  /** RFC 3339, UTC, milliseconds. */
  time: z.string(),
  agent: z.string().nullable(),
  method: z.string(),
  host: z.string(),
  port: z.number().int(),
  /** As received, without the query: each character is one byte (Latin-1). */
  path: z.string(),
  service: z.string().nullable(),
  credential: z.string().nullable(),
  version: z.number().int().nullable(),
  decision: Decision,
  /** A rule's id where injected, `unlisted` where passed on without a credential, else a code of errors.ts. */
  reason: z.string(),
});
export type RequestRecord = z.infer<typeof RequestRecord>;

/** Written when a forwarded request is over. Times in milliseconds. */
export const OutcomeRecord = z.object({
  type: z.literal('outcome'),
  id: z.number().int(),
  time: z.string(),
  status: z.number().int().nullable(),
  /** Code of errors.ts, or null. */
  error: z.string().nullable(),
  overheadMs: z.number(),
  totalMs: z.number(),
  bytesUp: z.number().int(),
  bytesDown: z.number().int(),
});
export type OutcomeRecord = z.infer<typeof OutcomeRecord>;

/** The scrub stage overwrote a credential in a response. */
export const ScrubRecord = z.object({
  type: z.literal('scrub'),
  id: z.number().int(),
  time: z.string(),
  where: z.enum(['head', 'body', 'trailer']),
  hits: z.number().int(),
});
export type ScrubRecord = z.infer<typeof ScrubRecord>;

/** The vault's own journal: administration, releases of secrets and leaves, refusals, alarms. */
export const VaultRecord = z.object({
  type: z.enum(['admin', 'release', 'refusal', 'alarm', 'process']),
  time: z.string(),
  action: z.string(),
  subject: z.string(),
  detail: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
});
export type VaultRecord = z.infer<typeof VaultRecord>;

/**
 * In the vault's journal: the newest link of another file, at most 100 ms old: what exposes that file where it is
 * rewritten or cut. Of a worker's while it runs; of the vault's own last journal, once, when the next one begins.
 */
export const HeadRecord = z.object({
  type: z.literal('head'),
  time: z.string(),
  file: z.string(),
  link: z.number().int(),
  hash: z.string(),
});
export type HeadRecord = z.infer<typeof HeadRecord>;

/**
 * In the vault's journal: a link of its own, not far back, signed by the HSM's audit key (ECDSA P-256, SHA-256, r‖s,
 * hex) over `checkpointMessage` in chain.ts.
 */
export const CheckpointRecord = z.object({
  type: z.literal('checkpoint'),
  time: z.string(),
  link: z.number().int(),
  hash: z.string(),
  signature: z.string(),
});
export type CheckpointRecord = z.infer<typeof CheckpointRecord>;

export const LinkLine = z.strictObject({ link: z.number().int(), hash: z.string().regex(/^[0-9a-f]{64}$/) });

export const JournalRecord = z.discriminatedUnion('type', [
  RequestRecord,
  OutcomeRecord,
  ScrubRecord,
  VaultRecord,
  HeadRecord,
  CheckpointRecord,
]);
export type JournalRecord = z.infer<typeof JournalRecord>;
