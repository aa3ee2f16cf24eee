import type { Channel } from '../../channel/channel.ts';
import { KeyholderHealth, KeyholderInfo, type KeyholderRequest } from '../../channel/messages/keyholder.ts';
import { SallyportError } from '../../errors.ts';
import { MAKING } from './verbs.ts';

/** What `status` waits for a keyholder. */
const STATUS_MS = 1_000;

/** Takes what is answered while its parts are valid. */
export type Take<T> = (header: unknown, parts: readonly Buffer[]) => T;

/** One keyholder among those that `status` lists. */
export interface KeyholderStatus {
  readonly name: string;
  readonly state: 'ok' | 'unavailable';
  readonly error?: string;
  readonly health?: KeyholderHealth;
}

/** Who hears of what becomes of keyholders. */
export interface HsmWatch {
  /** Its HSM cannot be used; again and again, for as long as that is so. */
  lost(name: string, error: SallyportError): void;
  /** Its HSM has just been used. */
  well(name: string): void;
  /** Its process is gone. */
  ended(name: string): void;
}

export interface KeyholderHooks extends HsmWatch {
  /** Ends the named one, which hangs. */
  kill(name: string, reason: string): void;
}

/** One keyholder process, as the vault sees it, for as long as its channel is open. */
export class Keyholder {
  readonly name: string;
  readonly #channel: Channel;
  readonly #hooks: KeyholderHooks;
  /** What it said last of its HSM, and when that was asked for: see Keyholders. */
  #info: KeyholderInfo | undefined;
  #asOf = -1;
  /** What keeps it from being used. */
  #problem: SallyportError | undefined;
  #pending = 0;
  /** Keys are being made, which takes long: that others wait for it is no sign that it hangs. */
  #making = false;

  constructor(name: string, channel: Channel, hooks: KeyholderHooks) {
    this.name = name;
    this.#channel = channel;
    this.#hooks = hooks;
  }

  get closed(): boolean {
    return this.#channel.closed;
  }

  get info(): KeyholderInfo | undefined {
    return this.#info;
  }

  get asOf(): number {
    return this.#asOf;
  }

  /** Undefined where what it was asked last was answered. */
  get problem(): SallyportError | undefined {
    return this.#problem;
  }

  /** Verbs that it has not answered yet. */
  get pending(): number {
    return this.#pending;
  }

  /** Asks it what its HSM is, and has it open the token where that is closed. Throws what it lacks. */
  async open(asOf: number, deadlineMs: number): Promise<KeyholderInfo> {
    const info = await this.ask(
      { verb: 'info' },
      [],
      (header) => KeyholderInfo.parse(header),
      deadlineMs,
    ).catch((error: unknown) => {
      this.#lost(error instanceof SallyportError ? error : malformed(error));
      throw error;
    });
    this.#info = info;
    this.#asOf = asOf;
    this.#well();
    return info;
  }

  /**
   * Asks for a verb. One that outlasts its deadline has the keyholder killed, since a call that hangs inside a vendor's
   * module ends no other way. Throws hsm_unavailable, and what the keyholder answers.
   */
  async ask<T>(
    request: KeyholderRequest,
    parts: readonly Buffer[],
    take: Take<T>,
    deadlineMs: number,
  ): Promise<T> {
    this.#pending += 1;
    const making = MAKING.has(request.verb);
    this.#making ||= making;
    try {
      const answer = await this.#channel.request(request, parts, take, deadlineMs);
      this.#well();
      return answer;
    } catch (cause) {
      if (!(cause instanceof SallyportError)) throw malformed(cause);
      if (cause.code === 'channel_timeout') {
        if (making || !this.#making)
          this.#end(`its HSM did not answer "${request.verb}" within ${deadlineMs} ms`);
        throw unavailable(`it did not answer within ${deadlineMs} ms`, cause);
      }
      if (cause.code === 'channel_closed') throw unavailable('the keyholder ended', cause);
      if (cause.code === 'hsm_unavailable' || ofPin(cause)) this.#lost(cause);
      throw cause;
    } finally {
      this.#pending -= 1;
      if (making) this.#making = false;
    }
  }

  #lost(error: SallyportError): void {
    this.#problem = error;
    if (!ofChannel(error) && !ofChannel(error.cause)) this.#hooks.lost(this.name, error); // else its end is told of
  }

  #well(): void {
    this.#problem = undefined;
    this.#hooks.well(this.name);
  }

  #end(reason: string): void {
    this.#channel.close();
    this.#hooks.kill(this.name, reason);
  }

  /**
   * What `status` says of it. It is asked how it stands, whatever its HSM does, and, where it may `look`, about its token:
   * for a second each. One that takes longer is left alone. Never throws.
   */
  async status(look: boolean, asOf: number): Promise<KeyholderStatus> {
    const { name } = this;
    try {
      const take = (header: unknown) => KeyholderHealth.parse(header);
      if (look) await this.#look(asOf);
      const health = await this.#channel.request({ verb: 'health' }, [], take, STATUS_MS);
      const error =
        this.#problem?.message ?? health.error ?? (this.#info ? undefined : 'it is being started');
      return { name, state: error === undefined ? 'ok' : 'unavailable', ...say(error), health };
    } catch (cause) {
      return { name, state: 'unavailable', ...say(silence(cause)) };
    }
  }

  async #look(asOf: number): Promise<void> {
    try {
      const take = (header: unknown) => KeyholderInfo.parse(header);
      this.#info = await this.#channel.request({ verb: 'info' }, [], take, STATUS_MS);
      this.#asOf = asOf;
      this.#well();
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code.startsWith('channel_')) throw error;
      this.#lost(error);
    }
  }
}

function ofChannel(error: unknown): boolean {
  return error instanceof SallyportError && error.code.startsWith('channel_');
}

/** Why a keyholder has not said how it is. */
function silence(cause: unknown): string {
  if (cause instanceof SallyportError && cause.code === 'channel_timeout')
    return `It has not answered for ${STATUS_MS / 1_000} s: a call to its HSM takes long, or hangs; then it is ended at its deadline.`;
  return cause instanceof Error ? cause.message : String(cause);
}

function say(error: string | undefined): { error?: string } {
  return error === undefined ? {} : { error };
}

export function malformed(cause?: unknown): SallyportError {
  return new SallyportError('channel_malformed', 'The keyholder answered in a form that was not asked for.', {
    cause,
  });
}

export function unavailable(why: string, cause?: unknown): SallyportError {
  const retried =
    cause instanceof SallyportError && ofPin(cause)
      ? 'it is not tried again before the owner has changed the PIN file'
      : 'it is retried by itself';
  return new SallyportError(
    'hsm_unavailable',
    `The HSM cannot be used now (${why.replace(/\.$/, '')}): ${retried}; \`sallyport status\` shows its state.`,
    { cause },
  );
}

/** Whether the PIN is what is wrong: that is not tried again before its file is another. */
export function ofPin({ code }: SallyportError): boolean {
  return code === 'hsm_pin_wrong' || code === 'hsm_pin_missing';
}

/** Why no keyholder could be had for a verb, whatever keeps it from its token. */
export function cannotOpen(cause: unknown): SallyportError {
  if (!(cause instanceof SallyportError)) throw cause;
  return cause.code === 'hsm_unavailable' ? cause : unavailable(cause.message, cause);
}

/** The failure of a verb that another keyholder, or the same one later, may answer; throws any other. */
export function asUnavailable(cause: unknown): SallyportError {
  if (!(cause instanceof SallyportError)) throw cause;
  if (ofPin(cause)) return unavailable(cause.message, cause);
  if (cause.code !== 'hsm_unavailable') throw cause;
  return cause;
}

/** Whether it was waited for to its deadline, and so can be asked of nobody else. */
export function hung({ cause }: SallyportError): boolean {
  return cause instanceof SallyportError && cause.code === 'channel_timeout';
}
