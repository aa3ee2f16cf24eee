import { Buffer } from 'node:buffer';
import type http2 from 'node:http2';
import { createBodyReader } from '../http/body.ts';
import type { BodyReader, ResponseHead } from '../http/message.ts';
import { ResponseReader } from '../http/response.ts';
import { Unframed } from '../websocket/unframed.ts';
import { CONNECTION_FIELDS } from './connection-fields.ts';
import { grouped, trailersOf } from './trailers.ts';

/** What an exchange passes on is bounded by its own limits for what a server sends; this is above them. */
const LIMITS = { headBytes: 512 * 1024, headFields: 1_000, targetBytes: 0 };
/** A Date is the server's to send. Node looks at this, its type declarations do not know it. */
const NO_DATE: http2.ServerStreamResponseOptions & { sendDate: boolean } = { sendDate: false };

/**
 * An HTTP/1.1 response in bytes, given out on a stream of HTTP/2. Where that response ends by its connection, `end`
 * says so. Content is copied: the caller may wipe the bytes at once.
 */
export class Answer {
  readonly #stream: http2.ServerHttp2Stream;
  readonly #reader = new ResponseReader(LIMITS);
  #body: BodyReader | undefined;
  #trailers = '';
  #ended = false;

  constructor(stream: http2.ServerHttp2Stream) {
    this.#stream = stream;
  }

  /** The method that is answered. */
  expect(method: string): void {
    this.#reader.expect(method);
  }

  /** Takes bytes of the response; false where the stream is full. Throws upstream_invalid where they are none. */
  take(bytes: Buffer): boolean {
    let at = 0;
    while (!this.#body) {
      at = this.#reader.read(bytes, at);
      if (at < 0) return true;
      this.#begin(this.#reader.head);
      if (at === bytes.length && !this.#body) return true;
    }
    return this.#takeBody(this.#body, bytes.subarray(at));
  }

  /** Nothing follows: the end of a response that had no other. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stream.end();
  }

  #begin(head: ResponseHead): void {
    const { status, framing } = head;
    if (status === 101) {
      // RFC 8441, 5: the stream is the WebSocket's from here on.
      this.#stream.respond([':status', '200', ...fieldsOf(head, true)], NO_DATE);
      this.#body = new Unframed();
    } else if (status < 200) {
      this.#stream.additionalHeaders(Object.assign({ ':status': status }, grouped(fieldsOf(head, false))));
      this.#reader.reset();
    } else {
      const endStream = framing.kind === 'none' || (framing.kind === 'length' && framing.length === 0);
      const fields = [':status', String(status), ...fieldsOf(head, false)];
      this.#body = createBodyReader(framing, 'response', LIMITS);
      this.#ended = endStream;
      this.#stream.on('wantTrailers', () => this.#stream.sendTrailers(trailersOf(this.#trailers)));
      const options = { ...NO_DATE, endStream, waitForTrailers: framing.kind === 'chunked' };
      this.#stream.respond(fields, options);
    }
  }

  #takeBody(body: BodyReader, bytes: Buffer): boolean {
    if (this.#ended || bytes.length === 0) return true;
    body.read(bytes, 0);
    for (let i = 0; i < body.trailerRanges.length; i += 2) {
      this.#trailers += bytes.toString('latin1', body.trailerRanges[i], body.trailerRanges[i + 1]);
    }
    const content = body instanceof Unframed ? Buffer.from(bytes) : contentOf(bytes, body.ranges);
    if (!body.done) return content.length === 0 || this.#stream.write(content);
    this.#ended = true;
    if (content.length > 0) this.#stream.end(content);
    else this.#stream.end();
    return true;
  }
}

/** Names in lower case and values by turns, without those that HTTP/2 has no place for. */
function fieldsOf({ bytes, fields: { count, offsets } }: ResponseHead, switched: boolean): string[] {
  const fields: string[] = [];
  for (let i = 0; i < count; i++) {
    const name = bytes.toString('latin1', offsets[4 * i], offsets[4 * i + 1]).toLowerCase();
    if (CONNECTION_FIELDS.has(name) || (switched && name === 'sec-websocket-accept')) continue;
    fields.push(name, bytes.toString('latin1', offsets[4 * i + 2], offsets[4 * i + 3]));
  }
  return fields;
}

function contentOf(bytes: Buffer, ranges: readonly number[]): Buffer {
  const [start, end] = ranges;
  if (ranges.length === 2) return Buffer.from(bytes.subarray(start, end));
  const pieces: Buffer[] = [];
  for (let i = 0; i < ranges.length; i += 2) pieces.push(bytes.subarray(ranges[i], ranges[i + 1]));
  return Buffer.concat(pieces);
}
