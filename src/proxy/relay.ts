import { SallyportError } from '../errors.ts';
import { allocateSecret } from '../secret-buffer.ts';
import type { AgentSide } from './agent-side.ts';
import { CloseNotify } from './close-notify.ts';
import type { Exchange } from './exchange.ts';
import { createBodyReader } from './http/body.ts';
import type { BodyReader, ResponseHead } from './http/message.ts';
import { ResponseReader } from './http/response.ts';
import { asSallyportError } from './problem.ts';
import { strip, withClose } from './response-head.ts';
import { Scrubber } from './scrub/scrubber.ts';
import type { UpstreamConnection, UpstreamHandler } from './upstream/pool.ts';
import { WebSocketFrames } from './websocket/frames.ts';
import { isSwitch, switchedHead } from './websocket/handshake.ts';
import { Unframed } from './websocket/unframed.ts';

const RESPONSE_LIMITS = { headBytes: 256 * 1024, headFields: 500, targetBytes: 0 };
/** RFC 9110, 15.2 sets no bound; a server that never comes to its answer must not hold us. */
const MAX_INTERIM = 16;
const NOTHING = Buffer.alloc(0);

/**
 * The way back: reads the upstream's answer, overwrites the credential in it, takes out what concerns the upstream
 * connection alone, and passes it on with its framing kept. A chunk that holds head and body goes out as it came, in
 * one write, and is wiped once that is encrypted: an echoed credential leaves no copy (measured, ARCHITECTURE.md).
 */
export class Relay implements UpstreamHandler {
  readonly #exchange: Exchange;
  readonly #tunnel: AgentSide;
  readonly #upstream: UpstreamConnection;
  readonly #reader: ResponseReader;
  readonly #scrubber: Scrubber;
  readonly #owned: readonly Buffer[];
  #head: ResponseHead | undefined;
  #status = 0;
  #reusable = false;
  #persistent = true;
  /** Set where only the end of the server's connection ends the body. */
  #end: CloseNotify | undefined;
  #received = false;
  #decode = false;
  #body: BodyReader | undefined;
  #interim = 0;
  #over = false;
  started = false;
  bytesDown = 0;

  constructor(
    exchange: Exchange,
    tunnel: AgentSide,
    upstream: UpstreamConnection,
    targets: { readonly leased: Buffer[]; readonly owned: Buffer[] },
  ) {
    this.#exchange = exchange;
    this.#tunnel = tunnel;
    this.#upstream = upstream;
    upstream.reader ??= new ResponseReader(RESPONSE_LIMITS);
    this.#reader = upstream.reader;
    this.#reader.reset();
    this.#reader.expect(exchange.head.method);
    this.#owned = targets.owned;
    this.#scrubber = new Scrubber([...targets.leased, ...targets.owned], (where, hits) =>
      exchange.scrubbed(where, hits),
    );
  }

  onData(chunk: Buffer): void {
    if (this.#over) return void chunk.fill(0);
    this.#received = true;
    this.#end?.lookLater();
    try {
      this.#take(chunk);
    } catch (error) {
      chunk.fill(0);
      this.#fail(asSallyportError(error));
    }
  }

  onEnd(): void {
    if (this.#over) return;
    if (!this.#received && this.#exchange.retry()) return this.destroy();
    try {
      if (!this.#head || !this.#body || this.#end?.announced === false) throw closedEarly();
      this.#body.end();
      for (const piece of this.#scrubber.feed(NOTHING, [], true)) this.#write(piece, piece);
      this.#done();
    } catch (error) {
      this.#fail(asSallyportError(error));
    }
  }

  onClose(error?: Error): void {
    if (this.#over) return;
    if (!this.#received && this.#exchange.retry()) return this.destroy();
    this.#fail(error instanceof SallyportError ? error : closedEarly(error));
  }

  onDrain(): void {
    if (!this.#over) this.#exchange.upstreamDrained();
  }

  agentDrained(): void {
    if (!this.#over) this.#upstream.socket.resume();
  }

  destroy(): void {
    this.#over = true;
    this.#scrubber.destroy();
    for (const bytes of this.#owned) bytes.fill(0);
    this.#reader.reset();
  }

  #take(chunk: Buffer): void {
    let at = 0;
    while (!this.#head) {
      at = this.#reader.read(chunk, at);
      if (at < 0) return void chunk.fill(0); // the reader keeps its own copy, and wipes it
      const head = this.#reader.head;
      if (head.status >= 200) return this.#begin(head, chunk, at);
      if (head.status === 101) return this.#switch(head, chunk, at);
      this.#passInterim(head);
      if (at === chunk.length) return;
    }
    this.#takeBody(chunk, at, -1);
  }

  /** 100 and 103 go through (RFC 9110, 15.2). */
  #passInterim(head: ResponseHead): void {
    if (++this.#interim > MAX_INTERIM) throw invalid('sent too many interim answers');
    this.#scrubber.scrubHead(head.bytes);
    if (this.#exchange.head.minor === 1)
      this.#write(Buffer.from(head.bytes.subarray(strip(head))), undefined);
    this.#reader.reset();
    this.#reader.expect(this.#exchange.head.method);
  }

  /** From here on both sides' bytes are WebSocket frames, where that is what the agent asked for and the server says. */
  #switch(head: ResponseHead, chunk: Buffer, at: number): void {
    const { accept, searched } = this.#exchange;
    if (accept === undefined || !isSwitch(head, accept, !searched))
      throw invalid('switched protocols unasked');
    this.#head = head;
    this.#status = head.status;
    this.#body = searched ? new WebSocketFrames() : new Unframed();
    this.#persistent = false;
    this.started = true;
    this.#scrubber.scrubHead(head.bytes);
    this.#write(switchedHead(head.bytes.subarray(strip(head))), undefined);
    this.#exchange.switched();
    this.#takeBody(chunk, at, -1);
  }

  #begin(head: ResponseHead, chunk: Buffer, at: number): void {
    const { head: request } = this.#exchange;
    this.#head = head;
    this.#status = head.status;
    this.#body = createBodyReader(head.framing, 'response', RESPONSE_LIMITS);
    this.#reusable = head.persistent && head.framing.kind !== 'close';
    this.#decode = head.framing.kind === 'chunked' && request.minor === 0;
    const { kind } = head.framing;
    // A 205 without a length ends with the connection for who reads it as RFC 9112 does: it is closed there too.
    this.#persistent =
      this.#exchange.persistent && kind !== 'close' && !(head.status === 205 && kind === 'none');
    if (kind === 'close') {
      this.#end = new CloseNotify(this.#upstream.socket);
      this.#end.lookLater();
    }
    this.started = true;
    this.#exchange.responseStarted();
    this.#scrubber.scrubHead(head.bytes);
    const start = strip(head, this.#decode);
    const inChunk =
      head.bytes.buffer === chunk.buffer &&
      head.bytes.byteOffset + head.bytes.length === chunk.byteOffset + at;
    if (inChunk && this.#persistent) return this.#takeBody(chunk, at, at - (head.bytes.length - start));
    const rest = head.bytes.subarray(start);
    const own = this.#persistent ? Buffer.from(rest) : withClose(rest);
    this.#write(own, own);
    this.#takeBody(chunk, at, -1);
  }

  /** Passes on the body's bytes from `at`, with the head that ends there and starts at `headStart` (-1: none). */
  #takeBody(chunk: Buffer, at: number, headStart: number): void {
    const body = this.#body;
    if (!body) return;
    const raw = chunk.subarray(at);
    const end = body.read(raw, 0);
    const whole = raw.subarray(0, end);
    const pieces = this.#decode
      ? this.#scrubber.feed(contentOf(whole, body.ranges), [0, sizeOf(body.ranges)], body.done)
      : this.#scrubber.feed(whole, searched(body), body.done);
    const first = pieces[0];
    if (headStart >= 0 && first === whole && pieces.length === 1) {
      this.#write(chunk.subarray(headStart, at + end), chunk);
    } else {
      if (headStart >= 0) pieces.unshift(chunk.subarray(headStart, at));
      for (const [index, piece] of pieces.entries()) {
        if (piece.length === 0) continue;
        // Written in order: with the last piece encrypted, nothing refers to the chunk any more.
        if (piece.buffer !== chunk.buffer) this.#write(piece, piece);
        else this.#write(piece, index === pieces.length - 1 ? chunk : undefined);
      }
      if (pieces.at(-1)?.buffer !== chunk.buffer) this.#write(NOTHING, chunk);
    }
    if (!body.done) return;
    // Bytes after the end answer a request that was never sent: nobody shall read them as the next answer.
    if (end < raw.length) this.#reusable = false;
    this.#done();
  }

  #write(bytes: Buffer, wiped: Buffer | undefined): void {
    this.bytesDown += bytes.length;
    if (!this.#tunnel.write(bytes, wiped)) this.#upstream.socket.pause();
  }

  #done(): void {
    this.#over = true;
    this.#exchange.responseDone(this.#status, this.#reusable, this.#persistent);
  }

  #fail(error: SallyportError): void {
    if (this.#over) return;
    this.#over = true;
    this.#exchange.responseFailed(error, this.started, this.#end !== undefined || this.#decode);
  }
}

/** The content alone, for an agent of HTTP/1.0, which knows no chunks. */
function contentOf(raw: Buffer, ranges: readonly number[]): Buffer {
  const content = allocateSecret(sizeOf(ranges));
  let at = 0;
  for (let i = 0; i < ranges.length; i += 2) at += raw.copy(content, at, ranges[i], ranges[i + 1]);
  return content;
}

/** Content and then trailer lines, which a secret could be put into as well. */
function searched({ ranges, trailerRanges }: BodyReader): readonly number[] {
  return trailerRanges.length === 0 ? ranges : [...ranges, ...trailerRanges];
}

function sizeOf(ranges: readonly number[]): number {
  let size = 0;
  for (let i = 0; i < ranges.length; i += 2) size += (ranges[i + 1] ?? 0) - (ranges[i] ?? 0);
  return size;
}

function invalid(what: string): SallyportError {
  return new SallyportError(
    'upstream_invalid',
    `The server ${what}, so its answer was dropped; the key is healthy.`,
  );
}

function closedEarly(cause?: Error): SallyportError {
  const message =
    'The server closed the connection before its answer was whole; the key is healthy. Try again.';
  return new SallyportError('upstream_closed', message, { cause });
}
