import type { Channel } from '../../channel/channel.ts';
import type { KeyholderInfo, KeyholderRequest } from '../../channel/messages/keyholder.ts';
import { type ErrorCode, SallyportError } from '../../errors.ts';
import { Turn } from '../turn.ts';
import {
  asUnavailable,
  cannotOpen,
  hung,
  Keyholder,
  type KeyholderHooks,
  type Take,
  unavailable,
} from './keyholder.ts';
import { type HsmStatus, statusOf } from './status.ts';
import { OF_ONE } from './verbs.ts';

/** What a verb may take before the keyholder is thought to hang in its module. */
const DEADLINE_MS = 5_000;
/** How long after a keyholder could not be used it is asked again. */
const AGAIN_MS = 1_000;
/** A keyholder that has just been started loads its module and logs in before it answers. */
const FIRST_DEADLINE_MS = 15_000;

/**
 * The keyholders of the moment. Verbs are spread over them, each to the one with the least to do; one that crashes or
 * loses its token takes nothing with it, for another is asked. They log in one after another: a token counts wrong PINs
 * whoever tries them, so while one keyholder's was refused no other tries.
 */
export class Keyholders {
  readonly #hooks: KeyholderHooks;
  readonly #shared: boolean;
  readonly #all: Keyholder[] = [];
  readonly #turn = new Turn();
  readonly #probed = new Set<Keyholder>();
  /** Grows where the token's keys change: what a keyholder said of them before counts no longer. */
  #epoch = 0;
  #next = 0;
  /** Why none of them has ever opened the token. */
  #problem = problemOf('no keyholder has been started yet');
  #opening: Promise<void> = Promise.resolve();
  /** Called when a keyholder has answered that its token, keys and login are there. */
  onReady: () => void = () => {};

  /** `shared`: there are several, which open their token only when asked to. */
  constructor(hooks: KeyholderHooks, shared: boolean) {
    this.#hooks = hooks;
    this.#shared = shared;
  }

  /** Takes `channel` as the keyholder `name`: asks it who it is, and uses it from then on. Never throws. */
  add(name: string, channel: Channel): Promise<void> {
    const keyholder = new Keyholder(name, channel, this.#hooks);
    this.#all.push(keyholder);
    const previous = channel.onClose;
    channel.onClose = (error) => {
      previous(error);
      this.#all.splice(this.#all.indexOf(keyholder), 1);
      this.#problem = problemOf('the keyholder ended and is being started again');
      this.#hooks.ended(name);
    };
    this.#opening = this.#open(keyholder, FIRST_DEADLINE_MS);
    return this.#opening.catch(() => this.#probe(keyholder));
  }

  /** Resolves once the keyholder added last can be used. Rejects with what it lacks: hsm_pin_wrong and the like. */
  opened(): Promise<void> {
    return this.#opening;
  }

  /** What the HSM is, or undefined with `problem` saying why nothing is known of it. */
  get info(): KeyholderInfo | undefined {
    return this.#usable()[0]?.info;
  }

  get problem(): string | undefined {
    return this.info ? undefined : this.#problem.message;
  }

  get problemCode(): ErrorCode {
    return this.info ? 'hsm_unavailable' : this.#problem.code;
  }

  /** Has every keyholder look at the token's keys anew. Throws hsm_unavailable where none can. */
  async refresh(): Promise<KeyholderInfo> {
    this.#epoch += 1;
    const usable = this.#usable();
    const settled = await Promise.allSettled(usable.map((each) => this.#open(each, DEADLINE_MS)));
    for (const each of usable) if (each.problem) this.#probe(each);
    const fresh = usable.find((each) => each.info && each.asOf === this.#epoch && !each.problem);
    if (fresh?.info) return fresh.info;
    for (const each of settled) if (each.status === 'rejected') throw each.reason;
    throw unavailable(this.#problem.message, this.#problem);
  }

  /**
   * Asks one of them for a verb, and where that ends, or has lost its token, another one; where all have, one that opens it
   * again. Throws hsm_unavailable, and what the keyholder answers.
   */
  async ask<T>(
    request: KeyholderRequest,
    parts: readonly Buffer[],
    take: Take<T>,
    deadlineMs = DEADLINE_MS,
  ): Promise<T> {
    const failed: Keyholder[] = [];
    for (;;) {
      const keyholder = await this.#pick(request.verb).catch((cause: unknown) => {
        throw cannotOpen(cause); // whatever keeps the token closed: it is no answer to this verb
      });
      try {
        return await keyholder.ask(request, parts, take, deadlineMs);
      } catch (cause) {
        const error = asUnavailable(cause);
        if (!keyholder.closed) this.#probe(keyholder);
        failed.push(keyholder);
        // What has ended two of them may end them all.
        const ended = failed.filter((each) => each.closed).length;
        if (!this.#shared || hung(error) || ended > 1 || failed.length > this.#all.length) throw error;
      }
    }
  }

  /** What `status` says of the HSM and of each keyholder. Never throws. */
  status(): Promise<HsmStatus> {
    return statusOf(this.#all, this.problem, async (keyholder, mayLook) => {
      const look = mayLook && keyholder.info !== undefined && !this.#turn.taken && !this.#refusal(keyholder);
      const ask = () => keyholder.status(look, this.#epoch);
      const status = await (look ? this.#turn.take(ask) : ask());
      if (keyholder.problem) this.#probe(keyholder);
      return status;
    });
  }

  /** Those that have opened the token once. */
  #usable(): Keyholder[] {
    return this.#all.filter(({ info }) => info !== undefined);
  }

  async #pick(verb: KeyholderRequest['verb']): Promise<Keyholder> {
    const usable = this.#usable();
    const well = usable.filter(({ problem }) => problem === undefined);
    const among = well.length > 0 ? well : usable;
    const [one] = among;
    if (!one) throw unavailable(this.#problem.message, this.#problem);
    this.#next += 1;
    const least = Math.min(...among.map(({ pending }) => pending));
    const idle = among.filter(({ pending }) => pending === least);
    const picked = OF_ONE.has(verb) ? one : (idle[this.#next % idle.length] ?? one);
    // What wraps must know the newest KEK; all else finds a key that it does not know.
    const stale = verb === 'wrap' && picked.asOf !== this.#epoch;
    if (stale || (this.#shared && picked.problem)) await this.#reopen(picked);
    return picked;
  }

  async #open(keyholder: Keyholder, deadlineMs: number): Promise<void> {
    const first = keyholder.info === undefined;
    try {
      await this.#turn.take(() => {
        const refusal = this.#refusal(keyholder);
        if (refusal) throw refusal;
        return keyholder.open(this.#epoch, deadlineMs);
      });
    } catch (error) {
      if (first && !keyholder.closed)
        this.#problem = error instanceof SallyportError ? error : problemOf(String(error));
      throw error;
    }
    if (first) this.onReady();
  }

  /** Waits for its turn no longer than for a verb. */
  #reopen(keyholder: Keyholder): Promise<void> {
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(unavailable('another keyholder is logging in')), DEADLINE_MS);
    const opened = this.#turn.shared(keyholder, () => this.#open(keyholder, DEADLINE_MS));
    return Promise.race([opened, promise]).finally(() => clearTimeout(timer));
  }

  /** The token refused another keyholder's PIN, which is this one's too. */
  #refusal(keyholder: Keyholder): SallyportError | undefined {
    const refused = this.#all.find((each) => each !== keyholder && each.problem?.code === 'hsm_pin_wrong');
    return refused?.problem;
  }

  /** Asks a keyholder again and again, for as long as it lives and something is wrong with it: a token may come back. */
  #probe(keyholder: Keyholder): void {
    if (this.#probed.has(keyholder)) return;
    this.#probed.add(keyholder);
    const timer = setTimeout(() => {
      this.#probed.delete(keyholder);
      if (keyholder.closed || (keyholder.info && !keyholder.problem)) return;
      this.#open(keyholder, keyholder.info ? DEADLINE_MS : FIRST_DEADLINE_MS).catch(() =>
        this.#probe(keyholder),
      );
    }, AGAIN_MS);
    timer.unref();
  }
}

function problemOf(what: string): SallyportError {
  return new SallyportError('hsm_unavailable', what);
}
