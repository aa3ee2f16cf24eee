import { z } from 'zod';
import { WorkerSecret, WorkerSettings } from './worker.ts';

/** What the supervisor tells the vault at its start. */
export const VaultStart = z.strictObject({
  type: z.literal('start'),
  /** Path at which the vault connects once for each keyholder or worker to be started. */
  rendezvous: z.string(),
  control: z.string(),
  database: z.string(),
  api: z.strictObject({ host: z.string(), port: z.number().int() }),
  worker: WorkerSettings,
  /** What the parts are, in their order: they go on to each worker. */
  secrets: z.array(WorkerSecret),
  /** How many versions of a credential keep their sealed value, the current one included. */
  keepVersions: z.number().int().min(1),
  /** Where the journal of the vault before this one ends; null where there is none. */
  previousJournal: z
    .strictObject({ file: z.string(), link: z.number().int().min(1), hash: z.string() })
    .nullable(),
  /** How many keyholders there will be. */
  keyholders: z.number().int().min(1),
  /** Where the keys of new authorities are: see src/vault/authorities/root-keys.ts. */
  authorityKeys: z.enum(['wrapped', 'hsm']),
  /** Where the newest state is anchored; null: on the token. */
  anchorFile: z.string().nullable(),
  /** How serve was told to isolate, for `status`. */
  isolation: z.string(),
});

/**
 * supervisor → vault. `start`, `connect`, `keyholder`, `open` and `served` are requests. For `connect` the vault dials the rendezvous once; the
 * supervisor hands the accepted socket, unread, to the child that it starts as descriptor 3.
 */
export const ToVault = z.discriminatedUnion('type', [
  VaultStart,
  z.strictObject({
    type: z.literal('connect'),
    kind: z.enum(['keyholder', 'worker', 'exchanger']),
    /** Names this run of a child: "worker-1-3" is the third run in slot 1. */
    name: z.string(),
    /** For a worker: its journal's file name. */
    journal: z.string().nullable(),
  }),
  /** Answered once the keyholder connected last has its token, keys and login; fails with what it lacks. */
  z.strictObject({ type: z.literal('keyholder') }),
  /** Answered once the policy is authenticated, and in force in every worker. */
  z.strictObject({ type: z.literal('served') }),
  /** A child is gone. */
  z.strictObject({ type: z.literal('exit'), name: z.string() }),
  /** Every worker of an earlier vault is gone: changes of policy may be answered from now on. */
  z.strictObject({ type: z.literal('open') }),
  z.strictObject({ type: z.literal('drain') }),
]);
export type ToVault = z.infer<typeof ToVault>;

export const ProcessStatus = z.strictObject({
  kind: z.enum(['supervisor', 'vault', 'keyholder', 'worker', 'exchanger']),
  name: z.string(),
  pid: z.number().int(),
  uid: z.number().int(),
  isolation: z.string(),
});
export type ProcessStatus = z.infer<typeof ProcessStatus>;

/** vault → supervisor. `kill`, `exchanger` and `processes` are requests; `worker-ready`, `pin-problem` events. */
export const FromVault = z.discriminatedUnion('type', [
  /** Kill -9 the named child and start another in its place; answered once it is gone. */
  z.strictObject({ type: z.literal('kill'), name: z.string(), reason: z.string() }),
  z.strictObject({ type: z.literal('processes') }),
  /** Start an exchanger, for one exchange. Answered (ExchangerReply) once it is started, and connected by `connect`. */
  z.strictObject({ type: z.literal('exchanger') }),
  /** The named keyholder's PIN is missing, or (`refused`) the token did not take it. */
  z.strictObject({ type: z.literal('pin-problem'), name: z.string(), refused: z.boolean() }),
  /** The worker listens and has its policy, or refuses everything until there is one. */
  z.strictObject({ type: z.literal('worker-ready'), name: z.string() }),
]);
export type FromVault = z.infer<typeof FromVault>;

export const ExchangerReply = z.strictObject({ name: z.string() });
export const ProcessesReply = z.strictObject({ processes: z.array(ProcessStatus) });
