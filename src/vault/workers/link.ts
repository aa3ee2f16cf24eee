import type { Channel } from '../../channel/channel.ts';
import type { Snapshot } from '../../channel/messages/policy.ts';
import type { ToWorker, WorkerSecret, WorkerSettings } from '../../channel/messages/worker.ts';
import { SallyportError } from '../../errors.ts';

/** What every worker is started with. */
export interface WorkerStart {
  readonly settings: WorkerSettings;
  /** What `named` names, in its order. */
  readonly secrets: readonly Buffer[];
  readonly named: readonly WorkerSecret[];
}

/** A worker loads its program before it answers at all; on a busy machine that takes seconds. */
const LOAD_MS = 20_000;
/** It makes its TLS contexts and binds its port before it answers `start`. */
const START_MS = 10_000;
/** Promise 7: a worker that has not acknowledged by then is killed. */
const ACKNOWLEDGE_MS = 2_000;
/** One that is being started serves nobody yet: it may take a little longer to come to its first messages. */
const FIRST_ACKNOWLEDGE_MS = 5_000;
/** A deadline that fires this much late was missed by us (a machine that slept, say), not by the worker. */
const STALL_MS = 500;
const PING_EVERY_MS = 500;

/** The vault's end of one worker: what it is told, and whether it still answers. */
export class WorkerLink {
  readonly name: string;
  /** File name of the worker's journal. */
  readonly journal: string;
  readonly #channel: Channel;
  readonly #kill: (reason: string) => Promise<void>;
  #ready = false;
  #revision = 0;
  #pings: NodeJS.Timeout | undefined;
  #killing: Promise<void> | undefined;

  /** `kill` has the supervisor end the process, and resolves once it is gone. */
  constructor(name: string, journal: string, channel: Channel, kill: (reason: string) => Promise<void>) {
    this.name = name;
    this.journal = journal;
    this.#channel = channel;
    this.#kill = kill;
  }

  /** It listens and has its policy. */
  get ready(): boolean {
    return this.#ready && !this.#channel.closed;
  }

  /** The newest revision that it has acknowledged; 0 before the first. */
  get revision(): number {
    return this.#revision;
  }

  /** Resolves true once the worker answers; false where it was ended instead. */
  loaded(): Promise<boolean> {
    return this.#acknowledged({ type: 'ping' }, LOAD_MS);
  }

  /** Gives the worker what it needs to serve; resolves true once it does, false where it was ended instead. */
  async start({ settings, secrets, named }: WorkerStart, snapshot: Snapshot): Promise<boolean> {
    const what = { worker: this.name, settings, snapshot, secrets: [...named] };
    if (!(await this.#acknowledged({ type: 'start', ...what }, START_MS, secrets))) return false;
    this.#ready = true;
    this.#revision = Math.max(this.#revision, snapshot.revision);
    this.#pings = setInterval(() => void this.#acknowledged({ type: 'ping' }, ACKNOWLEDGE_MS), PING_EVERY_MS);
    return true;
  }

  /** Resolves once the snapshot is in force in the worker, or the worker is gone. Rejects where it cannot be ended. */
  async push(snapshot: Snapshot): Promise<void> {
    const withinMs = this.#ready ? ACKNOWLEDGE_MS : FIRST_ACKNOWLEDGE_MS;
    if (await this.#acknowledged({ type: 'snapshot', snapshot }, withinMs)) {
      this.#revision = Math.max(this.#revision, snapshot.revision);
    }
  }

  drain(): void {
    this.stop();
    this.#channel.event({ type: 'drain' } satisfies ToWorker);
  }

  /** Asks it nothing more. */
  stop(): void {
    clearInterval(this.#pings);
  }

  /** Asks, and ends the worker where it does not answer. Rejects where it could not be ended. */
  async #acknowledged(message: ToWorker, withinMs: number, parts: readonly Buffer[] = []): Promise<boolean> {
    for (;;) {
      const began = Date.now();
      try {
        await this.#channel.request(message, parts, () => undefined, withinMs);
        return true;
      } catch (error) {
        const timedOut = error instanceof SallyportError && error.code === 'channel_timeout';
        if (timedOut && Date.now() - began > withinMs + STALL_MS) continue;
        // A closed channel is no proof that the process is gone: it could serve on for a while with its old rights.
        const why = error instanceof Error ? error.message : String(error);
        await this.#end(`it did not acknowledge "${message.type}": ${why}`);
        return false;
      }
    }
  }

  #end(reason: string): Promise<void> {
    this.stop();
    this.#ready = false;
    this.#killing ??= this.#kill(reason).then(
      () => this.#channel.close(),
      (error: unknown) => {
        this.#killing = undefined; // to be tried again with the next change
        throw error;
      },
    );
    return this.#killing;
  }
}
