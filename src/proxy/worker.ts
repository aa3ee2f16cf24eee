import type { Snapshot } from '../channel/messages/policy.ts';
import type { WorkerSettings } from '../channel/messages/worker.ts';
import { SallyportError } from '../errors.ts';
import { RateLimit } from '../rate-limit.ts';
import { pathIsUnambiguous } from './http/path.ts';
import type { RequestJournal } from './journal/request-journal.ts';
import type { Leaves } from './leaves.ts';
import type { Metrics } from './metrics.ts';
import { PASSED, PolicyTable } from './policy/match.ts';
import type { HotSecrets } from './secrets/hot-secrets.ts';
import { identityOf } from './upstream/key.ts';
import type { UpstreamPool } from './upstream/pool.ts';
import { type VaultClient, vaultUnavailable } from './vault-client.ts';

/** Promise 6: without a vault, what is hot is used this long and no longer. */
const VAULT_GRACE_MS = 5_000;
const TICK_MS = 500;
/** A burst of new connections is slowed down rather than refused, up to this much. */
const TURN_MS = 1_000;

/** What an agent has open, as the worker looks after it. */
export interface Connection {
  /** The agent's id. */
  readonly agent: string;
  /** Asked twice a second; `now` as of performance.now(). */
  checkDeadlines(now: number): void;
  /** A new policy is in force. */
  recheck(): void;
  /** Finish what is being carried, and no more. */
  drain(): void;
}

export interface Stages {
  readonly vault: VaultClient;
  readonly leaves: Leaves;
  readonly secrets: HotSecrets;
  readonly journal: RequestJournal;
  readonly pool: UpstreamPool;
}

/** The key of a credential version among the hot secrets. */
export function secretKey(credential: string, version: number): string {
  return `${credential} ${version}`;
}

/** What the tunnels of this process share: the policy in force, the stages, and who is open. */
export class Worker {
  readonly settings: WorkerSettings;
  readonly stages: Stages;
  readonly metrics: Metrics;
  readonly tunnels = new Set<Connection>();
  /** Keys of credentials whose token a server has refused since it was last asked for. */
  readonly refusedTokens = new Set<string>();
  /** By rule: asked for now. Each resolves with why there is none, or undefined. */
  readonly awaitedTokens = new Map<string, Promise<unknown>>();
  readonly #tunnelsOf = new Map<string, number>();
  /** This worker's share of what an agent may open and hold. */
  readonly #tunnelRate: RateLimit;
  readonly #mostTunnels: number;
  #policy: PolicyTable;
  readonly #awaitingPolicy: (() => void)[] = [];
  #vaultGoneAt: number | undefined;
  draining = false;

  constructor(settings: WorkerSettings, stages: Stages, metrics: Metrics, snapshot: Snapshot) {
    this.settings = settings;
    this.stages = stages;
    this.metrics = metrics;
    const { tunnelsPerSecond, tunnelBurst, tunnelsPerAgent } = settings.limits;
    // Connections come to the workers in equal parts, as near as the kernel does it.
    const share = (all: number): number => Math.ceil(all / settings.workers);
    const perSecond = tunnelsPerSecond / settings.workers;
    this.#tunnelRate = new RateLimit({ perSecond, burst: share(tunnelBurst), maxWaitMs: TURN_MS });
    this.#mostTunnels = share(tunnelsPerAgent);
    this.#policy = new PolicyTable(snapshot, pathIsUnambiguous);
    setInterval(() => this.#tick(), TICK_MS).unref();
  }

  get policy(): PolicyTable {
    return this.#policy;
  }

  /**
   * Puts a snapshot in force: when this returns, no request is decided by the old one, secrets that no rule names any
   * more are wiped (or are, when the exchange that holds them is cut below), as is what they have authenticated, and live
   * streams without a right are cut.
   */
  replacePolicy(snapshot: Snapshot): void {
    if (snapshot.revision <= this.#policy.revision) return;
    this.#policy = new PolicyTable(snapshot, pathIsUnambiguous);
    for (const tunnel of this.tunnels) tunnel.recheck();
    for (const go of this.#awaitingPolicy.splice(0)) go();
    const keys = new Set(snapshot.rules.map(({ credential, version }) => secretKey(credential, version)));
    this.stages.secrets.retain(keys);
    const identities = new Set([PASSED, ...snapshot.rules].map(identityOf));
    this.stages.pool.retain((identity) => identities.has(identity));
    for (const key of this.refusedTokens) if (!keys.has(key)) this.refusedTokens.delete(key);
  }

  /** Resolves once a policy newer than `revision` is in force, or after `withinMs`. */
  policyAfter(revision: number, withinMs: number): Promise<void> {
    if (this.#policy.revision > revision) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, withinMs);
      this.#awaitingPolicy.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  vaultGone(): void {
    this.#vaultGoneAt ??= performance.now();
  }

  /** Why no request may be forwarded now, if so. */
  refusal(): SallyportError | undefined {
    if (this.#vaultGoneAt === undefined || performance.now() - this.#vaultGoneAt < VAULT_GRACE_MS)
      return undefined;
    return vaultUnavailable();
  }

  /** How long a new connection of that agent has to wait, in ms. Throws rate_limited. */
  turn(agent: string): number {
    const wait = this.#tunnelRate.take(agent, performance.now());
    if (wait !== undefined) return wait;
    this.metrics.limit('tunnel_rate');
    const { tunnelsPerSecond } = this.settings.limits;
    throw new SallyportError(
      'rate_limited',
      `This agent opens more than ${tunnelsPerSecond} connections a second: keep some open and use them again.`,
    );
  }

  /** Counts the tunnel in. Throws rate_limited where its agent has too many. */
  admit(tunnel: Connection): void {
    const open = this.#tunnelsOf.get(tunnel.agent) ?? 0;
    if (open >= this.#mostTunnels) {
      this.metrics.limit('tunnels_per_agent');
      const { tunnelsPerAgent } = this.settings.limits;
      throw new SallyportError(
        'rate_limited',
        `This agent may have ${tunnelsPerAgent} connections open, and has no more left: close some, then try again.`,
      );
    }
    this.#tunnelsOf.set(tunnel.agent, open + 1);
    this.tunnels.add(tunnel);
  }

  dismiss(tunnel: Connection): void {
    if (!this.tunnels.delete(tunnel)) return;
    const open = this.#tunnelsOf.get(tunnel.agent) ?? 1;
    if (open > 1) this.#tunnelsOf.set(tunnel.agent, open - 1);
    else this.#tunnelsOf.delete(tunnel.agent);
  }

  /** Lets every tunnel finish what it carries, and no more. */
  drain(): void {
    this.draining = true;
    for (const tunnel of this.tunnels) tunnel.drain();
  }

  /** One sweep for all deadlines: a timer per request would cost more than the requests. */
  #tick(): void {
    const now = performance.now();
    for (const tunnel of this.tunnels) tunnel.checkDeadlines(now);
  }
}
