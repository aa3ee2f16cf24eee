import { setTimeout as delay } from 'node:timers/promises';
import type { Channel } from '../../channel/channel.ts';
import { SallyportError } from '../../errors.ts';
import type { Policy } from '../policy/policy.ts';
import { WorkerLink, type WorkerStart } from './link.ts';
import type { SnapshotCompiler } from './snapshot.ts';

/** As long as the workers of a vault that died use what is hot: those that come after them need not be there before. */
const PATIENCE_MS = 5_000;

export interface WorkerStatus {
  readonly name: string;
  readonly ready: boolean;
  /** Of the policy that it has in force. */
  readonly revision: number;
}

export interface FleetHooks {
  /** Ends the named process; resolves once it is gone. */
  kill(name: string, reason: string): Promise<void>;
  /** The worker serves. */
  ready(name: string): void;
}

/** All workers of this vault. Each has the newest policy, or is being ended. */
export class Fleet {
  readonly #policy: Policy;
  readonly #compiler: SnapshotCompiler;
  readonly #start: WorkerStart;
  readonly #hooks: FleetHooks;
  readonly #links = new Map<string, WorkerLink>();
  /** Connected before there was a policy to give them, which is waited for a little. */
  readonly #early = new Set<WorkerLink>();
  /** What keeps the policy away, where it is not waited for any more. */
  #closedBy: string | undefined;
  /** These, and those that still load their program: they have no policy, so a change of it does not concern them. */
  readonly #loading = new Set<WorkerLink>();

  constructor(policy: Policy, compiler: SnapshotCompiler, start: WorkerStart, hooks: FleetHooks) {
    this.#policy = policy;
    this.#compiler = compiler;
    this.#start = start;
    this.#hooks = hooks;
  }

  /**
   * Takes a worker in and starts it, as soon as the policy has been authenticated. Where that takes long it is started
   * without, and refuses everything: it is better to be told why than to find nobody.
   */
  add(name: string, journal: string, channel: Channel): WorkerLink {
    const link = new WorkerLink(name, journal, channel, (reason) => this.#kill(link, reason));
    this.#links.set(name, link);
    this.#loading.add(link);
    if (this.#policy.loaded || this.#closedBy !== undefined) this.#launch(link);
    else {
      this.#early.add(link);
      setTimeout(() => void this.startClosed().catch(report), PATIENCE_MS).unref();
    }
    return link;
  }

  /** Forgets a worker whose process is gone. */
  remove(name: string): void {
    const link = this.#links.get(name);
    if (!link) return;
    link.stop();
    this.#early.delete(link);
    this.#loading.delete(link);
    this.#links.delete(name);
  }

  /**
   * The policy is not to be had for now: those that wait for it are started without, as are those that come, and all are
   * told why. Throws worker_not_acknowledged, as `publish`.
   */
  async startClosed(): Promise<void> {
    const { unread } = this.#policy;
    if (unread === null || unread === this.#closedBy) return;
    this.#closedBy = unread;
    this.startEarly();
    await this.publish();
  }

  /** Starts those that connected before the policy was loaded. */
  startEarly(): void {
    const early = [...this.#early];
    this.#early.clear();
    for (const link of early) this.#launch(link);
  }

  /**
   * Brings the policy as it is now in force in every worker: resolves once each has acknowledged it or is gone.
   * Throws worker_not_acknowledged where one has not and could not be ended either.
   */
  async publish(): Promise<void> {
    const snapshot = this.#compiler.compile();
    const links = [...this.#links.values()].filter((link) => !this.#loading.has(link));
    await Promise.all(links.map((link) => link.push(snapshot)));
  }

  status(): WorkerStatus[] {
    return [...this.#links.values()].map(({ name, ready, revision }) => ({ name, ready, revision }));
  }

  /** Has the workers finish what they do and end; resolves once their processes are gone, or after `withinMs`. */
  async drain(withinMs: number): Promise<void> {
    const deadline = Date.now() + withinMs;
    for (const link of this.#links.values()) link.drain();
    while (this.#links.size > 0 && Date.now() < deadline) await delay(20);
  }

  #launch(link: WorkerLink): void {
    this.#bringUp(link).catch((error: unknown) => report(`${link.name}: ${String(error)}`));
  }

  async #bringUp(link: WorkerLink): Promise<void> {
    if (!(await link.loaded())) return;
    // In one turn with the policy that it is given: what changes from here on is pushed.
    this.#loading.delete(link);
    if (await link.start(this.#start, this.#compiler.compile())) this.#hooks.ready(link.name);
  }

  async #kill(link: WorkerLink, reason: string): Promise<void> {
    try {
      await this.#hooks.kill(link.name, reason);
    } catch (cause) {
      throw new SallyportError(
        'worker_not_acknowledged',
        `${link.name} has not taken the new policy and could not be ended: stop \`sallyport serve\` to be sure that it is not used.`,
        { cause },
      );
    }
    this.remove(link.name);
  }
}

function report(what: unknown): void {
  process.stderr.write(`sallyport: ${String(what)}\n`);
}
