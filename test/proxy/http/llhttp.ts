import { HTTPParser, methods } from 'node:_http_common';

/** What llhttp, in its strict mode, has said of one message so far. */
export interface LlhttpMessage {
  method: string | undefined;
  target: string;
  status: number | undefined;
  minor: number;
  /** Names and values in turn, Latin-1. */
  fields: string[];
  trailers: string[];
  body: string;
  keepAlive: boolean;
  headDone: boolean;
  done: boolean;
}

const QUERY = 46;

export function isKnownToLlhttp(method: string): boolean {
  return methods.includes(method);
}

/**
 * Node's HTTP parser as an oracle: strict (no leniency), one connection. `bodiless`: the response answers a HEAD
 * ("skip") or begins a tunnel ("tunnel"), which llhttp must be told.
 */
export class Llhttp {
  readonly messages: LlhttpMessage[] = [];
  bodiless: 'skip' | 'tunnel' | undefined;
  readonly #parser = new HTTPParser();
  #next = blank();

  constructor(side: 'request' | 'response') {
    this.#parser.initialize(
      side === 'request' ? HTTPParser.REQUEST : HTTPParser.RESPONSE,
      {},
      1 << 20,
      HTTPParser.kLenientNone,
    );
    this.#parser[HTTPParser.kOnHeaders | 0] = (lines: string[], target: string) => {
      (this.#next.headDone ? this.#next.trailers : this.#next.fields).push(...lines);
      this.#next.target += target;
    };
    this.#parser[HTTPParser.kOnHeadersComplete | 0] = (
      _major: number,
      minor: number,
      lines: string[] | undefined,
      method: number | undefined,
      target: string | undefined,
      status: number | undefined,
      _reason: string | undefined,
      _upgrade: boolean,
      keepAlive: boolean,
    ) => {
      const message = this.#next;
      message.method = typeof method === 'number' ? nameOf(method) : undefined;
      message.minor = minor;
      message.fields.push(...(lines ?? []));
      message.target += target ?? '';
      message.status = status ?? undefined;
      message.keepAlive = keepAlive;
      message.headDone = true;
      return this.bodiless === 'tunnel' ? 2 : this.bodiless === 'skip' ? 1 : 0;
    };
    this.#parser[HTTPParser.kOnBody | 0] = (bytes: Buffer) => {
      this.#next.body += bytes.toString('latin1');
    };
    this.#parser[HTTPParser.kOnMessageComplete | 0] = () => {
      this.#next.done = true;
      this.messages.push(this.#next);
      this.#next = blank();
    };
  }

  /** The message that is not complete yet. */
  get current(): LlhttpMessage {
    return this.#next;
  }

  /** Returns why it refused, else undefined. */
  feed(bytes: Buffer): string | undefined {
    const result = this.#parser.execute(bytes);
    return result instanceof Error ? result.message : undefined;
  }

  finish(): string | undefined {
    return this.#parser.finish()?.message;
  }

  /** Frees the native parser: V8 does not see its weight. */
  close(): void {
    this.#parser.close();
  }
}

/** `methods` has the names in the order of llhttp's numbers, but leaves out RTSP's before QUERY. */
function nameOf(method: number): string | undefined {
  return method === QUERY ? 'QUERY' : methods[method];
}

function blank(): LlhttpMessage {
  return {
    method: undefined,
    target: '',
    status: undefined,
    minor: -1,
    fields: [],
    trailers: [],
    body: '',
    keepAlive: false,
    headDone: false,
    done: false,
  };
}
