import type { Channel } from '../../channel/channel.ts';
import { ExchangeReply, type ExchangeRequest, type TokenRequest } from '../../channel/messages/exchanger.ts';
import { SallyportError } from '../../errors.ts';
import { copySecret } from '../../secret-buffer.ts';

/** A secret for the exchanger, by the name that the request calls it. */
export interface NamedSecret {
  readonly name: string;
  readonly value: Buffer;
}

/** What a token endpoint said. The caller wipes the tokens. */
export type TokenAnswer =
  | {
      readonly outcome: 'token';
      readonly lifetimeMs: number | null;
      readonly token: Buffer;
      readonly refreshToken: Buffer | undefined;
    }
  | Extract<ExchangeReply, { outcome: 'refused' }>;

/** An exchanger that is ready. */
export interface Exchanger {
  /** Sends the secrets at once: they may be wiped when this returns its promise. Throws exchange_failed. */
  ask(request: TokenRequest, secrets: readonly NamedSecret[]): Promise<TokenAnswer>;
}

export interface ExchangersOptions {
  /** Has the supervisor start one; resolves with its name once `connected` knows it. */
  start(): Promise<string>;
  kill(name: string, reason: string): Promise<void>;
  readonly settings: ExchangeRequest['settings'];
  /** What goes with the settings: the password of the company's proxy. */
  readonly secrets: readonly NamedSecret[];
}

/** Processes at a time: each is a Node of its own, and an agent with many grants could ask for many. */
const AT_ONCE = 8;
const MAX_WAITING = 256;
/** For its turn. */
const TURN_MS = 4_000;
/** For the exchanger's whole work; and, with the time that a busy machine takes to start it, until it is thought to hang. */
const EXCHANGE_MS = 6_000;
const ANSWER_MS = 9_000;

/** The short-lived processes that speak to token endpoints: one for each exchange. */
export class Exchangers {
  readonly #options: ExchangersOptions;
  readonly #channels = new Map<string, Channel>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: ExchangersOptions) {
    this.#options = options;
  }

  /** The exchanger of that name is being started at the other end of `channel`. */
  connected(name: string, channel: Channel): void {
    this.#channels.set(name, channel);
  }

  /** The process of that name is gone. */
  gone(name: string): void {
    this.#channels.get(name)?.close();
    this.#channels.delete(name);
  }

  /** Runs `use` with an exchanger of its own, which is gone afterwards. Throws exchange_failed and what `use` throws. */
  async run<T>(use: (exchanger: Exchanger) => Promise<T>): Promise<T> {
    await this.#turn();
    let name: string | undefined;
    try {
      name = await this.#options.start().catch((cause: unknown) => {
        throw failed('the process that asks could not be started', cause);
      });
      const channel = this.#channels.get(name);
      if (!channel) throw failed('the process that asks was not connected');
      const started = name;
      return await use({ ask: (request, secrets) => this.#ask(started, channel, request, secrets) });
    } finally {
      if (name !== undefined) this.gone(name);
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }

  async #turn(): Promise<void> {
    if (this.#running < AT_ONCE) {
      this.#running += 1;
      return;
    }
    if (this.#waiting.length >= MAX_WAITING) throw busy();
    await new Promise<void>((resolve, reject) => {
      const go = (): void => {
        clearTimeout(timer);
        resolve(); // the turn is handed over, still counted
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1);
        reject(busy());
      }, TURN_MS);
      this.#waiting.push(go);
    });
  }

  async #ask(
    name: string,
    channel: Channel,
    request: TokenRequest,
    given: readonly NamedSecret[],
  ): Promise<TokenAnswer> {
    const { settings, secrets: own } = this.#options;
    const secrets = [...own, ...given];
    const header: ExchangeRequest = {
      settings,
      timeoutMs: EXCHANGE_MS,
      request,
      parts: secrets.map((secret) => secret.name),
    };
    try {
      return await channel.request(
        header,
        secrets.map(({ value }) => value),
        (reply, parts) => read(ExchangeReply.parse(reply), parts),
        ANSWER_MS,
      );
    } catch (cause) {
      if (!(cause instanceof SallyportError)) throw failed('the process that asked answered nonsense', cause);
      if (cause.code === 'channel_timeout') {
        await this.#options.kill(name, `it did not answer within ${ANSWER_MS} ms`);
        throw failed('the process that asked did not answer', cause);
      }
      if (cause.code.startsWith('channel_')) throw failed('the process that asked ended', cause);
      if (cause.code === 'exchange_failed') throw cause;
      throw failed(cause.message.replace(/\.$/, ''), cause);
    }
  }
}

function read(reply: ExchangeReply, [token, refreshToken]: readonly Buffer[]): TokenAnswer {
  if (reply.outcome === 'refused') return reply;
  if (!token) throw new TypeError('a token was announced and not sent');
  return { ...reply, token: copySecret(token), refreshToken: refreshToken && copySecret(refreshToken) };
}

function busy(): SallyportError {
  return failed('too many tokens are asked for at once');
}

function failed(why: string, cause?: unknown): SallyportError {
  return new SallyportError('exchange_failed', `The token endpoint cannot be used: ${why}.`, { cause });
}
