import { SallyportError } from '../../errors.ts';
import { CloseNotify } from '../close-notify.ts';
import type { AgentSide } from '../exchange/agent-side.ts';
import type { Carriage } from '../exchange/carriage.ts';
import type { ScrubTargets } from '../exchange/outgoing.ts';
import { Unprocessed } from '../h2/unprocessed.ts';
import { createBodyReader } from '../http/body.ts';
import type { ResponseHead } from '../http/message.ts';
import { ResponseReader } from '../http/response.ts';
import { asSallyportError } from '../problem.ts';
import { Scrubber } from '../scrub/scrubber.ts';
import type { UpstreamConnection, UpstreamHandler } from '../upstream/connection.ts';
import { WebSocketFrames } from '../websocket/frames.ts';
import { isSwitch, switchedHead } from '../websocket/handshake.ts';
import { Unframed } from '../websocket/unframed.ts';
import { AnswerBody, type PassesOn } from './answer-body.ts';
import { closedEarly, refused, unasked } from './faults.ts';
import { strip, withClose } from './response-head.ts';

const RESPONSE_LIMITS = { headBytes: 256 * 1024, headFields: 500, targetBytes: 0 };
/** RFC 9110, 15.2 sets no bound; a server that never comes to its answer must not hold us. */
const MAX_INTERIM = 16;

/**
 * The way back: reads the upstream's answer, overwrites the credential in it, takes out what concerns the upstream
 * connection alone, and passes it on, head and body in one write where they came together.
 */
export class Relay implements UpstreamHandler, PassesOn {
  readonly #carriage: Carriage;
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
  #body: AnswerBody | undefined;
  #interim = 0;
  #over = false;
  started = false;
  bytesDown = 0;

  /** `record`: the id of the request's, which hits are recorded under. */
  constructor(
    carriage: Carriage,
    upstream: UpstreamConnection,
    targets: ScrubTargets,
    record: number | undefined,
  ) {
    this.#carriage = carriage;
    this.#tunnel = carriage.tunnel;
    this.#upstream = upstream;
    upstream.reader ??= new ResponseReader(RESPONSE_LIMITS);
    this.#reader = upstream.reader;
    this.#reader.reset();
    this.#reader.expect(carriage.head.method);
    this.#owned = targets.owned;
    const { journal } = carriage.tunnel.worker.stages;
    this.#scrubber = new Scrubber([...targets.leased, ...targets.owned], (where, hits) => {
      if (record !== undefined) journal.scrubbed(record, where, hits);
    });
  }

  onData(chunk: Buffer): void {
    if (this.#over) return;
    this.#received = true;
    this.#end?.lookLater();
    try {
      this.#take(chunk);
    } catch (error) {
      this.fail(asSallyportError(error));
    }
  }

  onEnd(): void {
    if (this.#over) return;
    if (!this.#received && this.#carriage.retry(false)) return this.destroy();
    try {
      if (!this.#head || !this.#body || this.#end?.announced === false) throw closedEarly();
      this.#body.end();
      this.#done();
    } catch (error) {
      this.fail(asSallyportError(error));
    }
  }

  onClose(error?: Error): void {
    if (this.#over) return;
    const unprocessed = error instanceof Unprocessed;
    if (!this.#received && this.#carriage.retry(unprocessed)) return this.destroy();
    if (unprocessed) this.fail(refused(error));
    else this.fail(error instanceof SallyportError ? error : closedEarly(error));
  }

  onDrain(): void {
    if (!this.#over) this.#carriage.upstreamDrained();
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
      if (at < 0) return; // the reader keeps its own copy, and wipes it
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
    if (++this.#interim > MAX_INTERIM) throw unasked('sent too many interim answers');
    this.#scrubber.scrubHead(head.bytes);
    if (this.#carriage.head.minor === 1) this.passOn(head.bytes.subarray(strip(head)));
    this.#reader.reset();
    this.#reader.expect(this.#carriage.head.method);
  }

  /** From here on both sides' bytes are WebSocket frames, where that is what the agent asked for and the server says. */
  #switch(head: ResponseHead, chunk: Buffer, at: number): void {
    const { accept, searched } = this.#carriage;
    if (accept === undefined || !isSwitch(head, accept, !searched))
      throw unasked('switched protocols unasked');
    this.#head = head;
    this.#status = head.status;
    const frames = searched ? new WebSocketFrames() : new Unframed();
    this.#body = new AnswerBody(frames, this.#scrubber, false, this);
    this.#persistent = false;
    this.#start();
    this.#scrubber.scrubHead(head.bytes);
    this.passOn(switchedHead(head.bytes.subarray(strip(head))));
    this.#carriage.switched();
    this.#takeBody(chunk, at, -1);
  }

  /** The final answer's head is here: from now on only the peers decide how long it takes. */
  #start(): void {
    this.started = true;
    this.#carriage.responseStarted();
  }

  #begin(head: ResponseHead, chunk: Buffer, at: number): void {
    const { head: request } = this.#carriage;
    this.#head = head;
    this.#status = head.status;
    this.#reusable = head.persistent && head.framing.kind !== 'close';
    this.#decode = head.framing.kind === 'chunked' && request.minor === 0;
    const reader = createBodyReader(head.framing, 'response', RESPONSE_LIMITS);
    this.#body = new AnswerBody(reader, this.#scrubber, this.#decode, this);
    const { kind } = head.framing;
    // A 205 without a length ends with the connection for who reads it as RFC 9112 does: it is closed there too.
    this.#persistent =
      this.#carriage.persistent && kind !== 'close' && !(head.status === 205 && kind === 'none');
    if (kind === 'close') {
      this.#end = new CloseNotify(this.#upstream.socket);
      this.#end.lookLater();
    }
    this.#start();
    this.#scrubber.scrubHead(head.bytes);
    const start = strip(head, this.#decode);
    const inChunk =
      head.bytes.buffer === chunk.buffer &&
      head.bytes.byteOffset + head.bytes.length === chunk.byteOffset + at;
    if (inChunk && this.#persistent) return this.#takeBody(chunk, at, at - (head.bytes.length - start));
    const rest = head.bytes.subarray(start);
    this.passOn(this.#persistent ? rest : withClose(rest));
    this.#takeBody(chunk, at, -1);
  }

  /** The body's bytes in `chunk` from `at`, with the head before them that starts at `headStart` (-1: none). */
  #takeBody(chunk: Buffer, at: number, headStart: number): void {
    const body = this.#body;
    if (!body) return;
    const end = body.take(chunk, at, headStart);
    if (!body.done) return;
    // Bytes after the end answer a request that was never sent: nobody shall read them as the next answer.
    if (end < chunk.length) this.#reusable = false;
    this.#done();
  }

  passOn(bytes: Buffer): void {
    this.bytesDown += bytes.length;
    if (!this.#tunnel.write(bytes)) this.#upstream.socket.pause();
  }

  #done(): void {
    this.#over = true;
    this.#carriage.responseDone(this.#status, this.#reusable, this.#persistent);
  }

  /** The answer cannot be had, or finished. */
  fail(error: SallyportError): void {
    if (this.#over) return;
    this.#over = true;
    this.#carriage.responseFailed(error, this.started, this.#end !== undefined || this.#decode);
  }
}
