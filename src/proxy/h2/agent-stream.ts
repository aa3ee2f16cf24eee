import { Buffer } from 'node:buffer';
import http2 from 'node:http2';
import type { Scheme } from '../authority.ts';
import type { AgentSide } from '../exchange/agent-side.ts';
import { Exchange } from '../exchange/exchange.ts';
import { RequestReader } from '../http/request.ts';
import { asSallyportError, problemResponse } from '../problem.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';
import type { Worker } from '../worker.ts';
import { Answer } from './answer.ts';
import { properEnd } from './proper-end.ts';
import { type TranslatedHead, translateHead } from './request-head.ts';

const {
  NGHTTP2_NO_ERROR,
  NGHTTP2_REFUSED_STREAM,
  NGHTTP2_FLAG_END_STREAM,
  NGHTTP2_STREAM_STATE_OPEN,
  NGHTTP2_STREAM_STATE_HALF_CLOSED_LOCAL,
} = http2.constants;
const CRLF = Buffer.from('\r\n', 'latin1');

/** One request on an HTTP/2 connection: an exchange like any other, its bytes translated on both ways. */
export class AgentStream implements AgentSide {
  readonly #tunnel: Tunnel;
  readonly #stream: http2.ServerHttp2Stream;
  readonly #answer: Answer;
  #exchange: Exchange | undefined;
  /** Whether the request is one of gRPC, which needs HTTP/2 all the way. */
  grpc = false;
  lastKey: AgentSide['lastKey'];
  #chunked = false;
  #trailers = '';
  #reading = false;
  #ended = false;

  constructor(tunnel: Tunnel, stream: http2.ServerHttp2Stream) {
    this.#tunnel = tunnel;
    this.#stream = stream;
    this.#answer = new Answer(stream);
    stream.on('drain', () => this.#exchange?.agentDrained());
    // Both may come before the body is asked for, where there is none.
    stream.on('trailers', (_headers, _flags, fields: readonly string[]) => {
      for (let i = 0; i < fields.length; i += 2) this.#trailers += `${fields[i]}: ${fields[i + 1]}\r\n`;
    });
    const isProper = properEnd(stream);
    stream.on('end', () => {
      this.#ended = isProper();
      if (this.#ended && this.#reading) this.#finishBody();
    });
  }

  get worker(): Worker {
    return this.#tunnel.worker;
  }

  get agent(): string {
    return this.#tunnel.agent;
  }

  get agentName(): string {
    return this.#tunnel.agentName;
  }

  get scheme(): Scheme {
    return this.#tunnel.scheme;
  }

  get host(): string {
    return this.#tunnel.host;
  }

  get port(): number {
    return this.#tunnel.port;
  }

  get token(): Buffer {
    return this.#tunnel.token;
  }

  get authority(): string {
    return this.#tunnel.authority;
  }

  /** Begins with the request's fields, as they came. `misdirected`: as for Exchange. */
  start(fields: readonly string[], flags: number, misdirected: boolean): void {
    let head: TranslatedHead;
    const reader = new RequestReader(this.worker.settings.limits);
    try {
      head = translateHead(fields, (flags & NGHTTP2_FLAG_END_STREAM) !== 0);
      reader.read(head.bytes, 0);
      this.#answer.expect(reader.head.method);
    } catch (error) {
      return this.#refuse(error);
    }
    this.#chunked = head.chunked;
    this.grpc = fields.some(
      (value, i) => fields[i - 1] === 'content-type' && value.startsWith('application/grpc'),
    );
    this.#exchange = new Exchange(this, reader.head, misdirected);
    this.#exchange.start();
  }

  write(bytes: Buffer): boolean {
    try {
      return this.#stream.destroyed || this.#stream.closed || this.#answer.take(bytes);
    } catch {
      this.destroy(); // an answer that HTTP/2 cannot say
      return true;
    }
  }

  continue(): void {
    if (this.#reading) return this.resumeAgent();
    this.#reading = true;
    this.#stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    if (this.#ended) this.#finishBody();
  }

  pauseAgent(): void {
    this.#stream.pause();
  }

  resumeAgent(): void {
    this.#stream.resume();
  }

  watchEnd(): void {}

  watchEndLater(): void {}

  exchangeDone(): void {
    this.#answer.end();
    if (!this.#ended) this.#stream.once('finish', () => setImmediate(() => this.#refuseRest()));
  }

  /** RFC 9113, 8.1: the answer is whole, and what is still to come of the request is not wanted. */
  #refuseRest(): void {
    if (this.#stream.destroyed || this.#stream.closed) return;
    // To reset a stream that both sides have ended sends Node 26 into an endless loop.
    const { state } = this.#stream.state;
    if (state !== NGHTTP2_STREAM_STATE_OPEN && state !== NGHTTP2_STREAM_STATE_HALF_CLOSED_LOCAL) return;
    this.#stream.close(NGHTTP2_NO_ERROR);
  }

  refuse(): boolean {
    if (this.#stream.headersSent) return false;
    this.#stream.close(NGHTTP2_REFUSED_STREAM);
    return true;
  }

  reset(): void {
    this.destroy();
  }

  /** Resets the stream. Not `close`: that ends it properly first, so that an answer that is cut would look whole. */
  destroy(): void {
    this.#stream.destroy(new Error('cut'));
  }

  /** The stream is over. True where the agent ended it before its answer was whole. */
  closed(): boolean {
    const exchange = this.#exchange;
    const early = exchange !== undefined && !exchange.over;
    exchange?.agentGone();
    return early;
  }

  checkDeadlines(now: number): void {
    this.#exchange?.checkDeadlines(now);
  }

  /** A new policy is in force; `gone`: the agent has no right to be here. */
  recheck(gone: boolean): void {
    if (!gone && !this.#exchange?.policyChanged()) return;
    this.#exchange?.revoked();
    this.destroy();
  }

  #onData(chunk: Buffer): void {
    if (!this.#chunked) return this.#forward(chunk);
    const size = Buffer.from(`${chunk.length.toString(16)}\r\n`, 'latin1');
    this.#forward(Buffer.concat([size, chunk, CRLF]));
  }

  #finishBody(): void {
    if (this.#chunked) this.#forward(Buffer.from(`0\r\n${this.#trailers}\r\n`, 'latin1'));
    else this.#exchange?.endSwitched();
  }

  #forward(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length && this.#exchange?.takesBody) at = this.#exchange.forwardBody(bytes, at);
  }

  /** A head that no exchange begins with: recorded, answered. */
  #refuse(cause: unknown): void {
    const error = asSallyportError(cause);
    const { agentName, host, port } = this;
    this.worker.stages.journal.refusal({ agent: agentName, method: '', host, port, path: '' }, error, () => {
      this.write(problemResponse(error, { close: false, bodiless: false, reason: false }));
      this.exchangeDone();
    });
  }
}
