import { Buffer } from 'node:buffer';
import http2 from 'node:http2';
import { Duplex } from 'node:stream';
import { allocateSecret } from '../../secret-buffer.ts';
import { createBodyReader } from '../http/body.ts';
import { upstreamInvalid } from '../http/faults.ts';
import type { BodyReader, RequestHead } from '../http/message.ts';
import { RequestReader } from '../http/request.ts';
import { properEnd } from './proper-end.ts';
import { requestFields } from './request-fields.ts';
import { responseHead } from './response-head.ts';
import { rinseHeapSoon } from './rinse-heap.ts';
import { trailersOf } from './trailers.ts';
import { Unprocessed } from './unprocessed.ts';

/** What is written here was read by the same reader with tighter limits, but for what was put in. */
const LIMITS = { headBytes: 2 * 1024 * 1024, headFields: 11_000, targetBytes: 128 * 1024 };
const { NGHTTP2_FLAG_END_STREAM, NGHTTP2_REFUSED_STREAM } = http2.constants;

type Callback = (error?: Error | null) => void;

/**
 * One request to a server that speaks HTTP/2, and its answer, as a socket that speaks HTTP/1.1: a request's bytes are
 * written, the response's are read. Its one cost: node:http2 takes fields as strings, so here the credential becomes
 * one, for a moment (SECURITY.md). It is made when the head is written, nothing refers to it once the request is handed
 * over, what it leaves is overwritten soon, and it is marked as sensitive, so that no HPACK table keeps it.
 */
export class ServerStream extends Duplex {
  readonly #session: http2.ClientHttp2Session;
  readonly #sensitive: readonly string[];
  readonly #reader = new RequestReader(LIMITS);
  #stream: http2.ClientHttp2Stream | undefined;
  /** Whether the server has ended its side. */
  #isProper: () => boolean = () => false;
  #method = '';
  #body: BodyReader | undefined;
  #requestTrailers = '';
  #responseTrailers = '';
  #chunked = false;

  /** `sensitive`: lower-case names of the fields that hold a credential. */
  constructor(session: http2.ClientHttp2Session, sensitive: readonly string[]) {
    super();
    this.#session = session;
    this.#sensitive = sensitive;
  }

  override _read(): void {
    this.#stream?.resume();
  }

  override _write(chunk: Buffer, _encoding: string, callback: Callback): void {
    try {
      let at = 0;
      if (!this.#stream) {
        at = this.#reader.read(chunk, 0);
        if (at < 0) return callback(); // a part of a head
        this.#begin(this.#reader.head);
      }
      if (at === chunk.length) callback();
      else this.#writeBody(chunk.subarray(at), callback);
    } catch (error) {
      callback(error instanceof Error ? error : new Error(String(error)));
    }
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#reader.reset();
    this.#cancel();
    callback(error);
  }

  #begin(head: RequestHead): void {
    if (this.#session.closed || this.#session.destroyed) throw new Unprocessed();
    const { kind } = head.framing;
    this.#method = head.method;
    this.#body = createBodyReader(head.framing, 'request', LIMITS);
    const fields = requestFields(head);
    Reflect.set(fields, http2.sensitiveHeaders, this.#sensitive);
    const options = { endStream: this.#body.done, waitForTrailers: kind === 'chunked' };
    const stream = this.#session.request(fields, options);
    fields.length = 0; // the stream refers to it as long as it lives
    if (this.#sensitive.length > 0) rinseHeapSoon();
    this.#stream = stream;
    const isProper = properEnd(stream);
    this.#isProper = isProper;
    stream.on('wantTrailers', () => stream.sendTrailers(trailersOf(this.#requestTrailers)));
    stream.on('headers', (_headers, _flags, raw: string[]) => this.#onHead(raw, false));
    stream.on('response', (_headers, flags, raw: string[]) => {
      this.#onHead(raw, (flags & NGHTTP2_FLAG_END_STREAM) !== 0);
    });
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    stream.on('trailers', (_headers, _flags, raw: string[]) => {
      for (let i = 0; i < raw.length; i += 2) this.#responseTrailers += `${raw[i]}: ${raw[i + 1]}\r\n`;
    });
    stream.on('end', () => {
      if (isProper()) this.#onEnd();
    });
    stream.on('error', () => {}); // told by the close that follows
    stream.on('close', () => {
      if (isProper()) return;
      const { rstCode } = stream;
      this.destroy(
        rstCode === NGHTTP2_REFUSED_STREAM
          ? new Unprocessed()
          : new Error(`the stream was reset (${rstCode})`),
      );
    });
  }

  #writeBody(chunk: Buffer, callback: Callback): void {
    const stream = this.#stream;
    const body = this.#body;
    if (!stream || !body) return callback(new Error('a body without a head'));
    if (body.read(chunk, 0) < chunk.length) return callback(new Error('bytes after the request'));
    for (let i = 0; i < body.trailerRanges.length; i += 2) {
      this.#requestTrailers += chunk.toString('latin1', body.trailerRanges[i], body.trailerRanges[i + 1]);
    }
    const content = contentOf(chunk, body.ranges);
    if (body.done) stream.end(content, () => callback());
    else if (content.length > 0) {
      // A failure is told by the close that follows, which knows whether the server had taken anything.
      stream.write(content, (error) => {
        if (!error) callback();
      });
    } else callback();
  }

  #onHead(raw: readonly string[], ended: boolean): void {
    try {
      const { bytes, chunked } = responseHead(raw, this.#method, ended);
      this.#chunked = chunked;
      this.#give(bytes);
    } catch (error) {
      this.destroy(error instanceof Error ? error : upstreamInvalid('its head is malformed'));
    }
  }

  #onData(chunk: Buffer): void {
    if (!this.#chunked) return this.#give(chunk);
    const size = `${chunk.length.toString(16)}\r\n`;
    const bytes = allocateSecret(size.length + chunk.length + 2);
    bytes.write(size, 'latin1');
    chunk.copy(bytes, size.length);
    bytes.write('\r\n', size.length + chunk.length, 'latin1');
    chunk.fill(0);
    this.#give(bytes);
  }

  #onEnd(): void {
    if (this.#chunked) {
      const last = `0\r\n${this.#responseTrailers}\r\n`;
      const bytes = allocateSecret(last.length);
      bytes.write(last, 'latin1');
      this.#give(bytes);
    }
    this.push(null);
  }

  #give(bytes: Buffer): void {
    if (!this.push(bytes)) this.#stream?.pause();
  }

  /**
   * Resets the stream, where it goes on. Not `close`, which ends the request properly first, as if it were whole; and
   * not where both sides have ended: to reset such a stream sends Node 26 into an endless loop.
   */
  #cancel(): void {
    const stream = this.#stream;
    if (!stream || stream.closed || (this.#body?.done && this.#isProper())) return;
    stream.destroy(new Error('cancelled'));
  }
}

function contentOf(chunk: Buffer, ranges: readonly number[]): Buffer {
  if (ranges.length === 2) return chunk.subarray(ranges[0], ranges[1]);
  const pieces: Buffer[] = [];
  for (let i = 0; i < ranges.length; i += 2) pieces.push(chunk.subarray(ranges[i], ranges[i + 1]));
  return Buffer.concat(pieces);
}
