import type { Buffer } from 'node:buffer';
import { upstreamInvalid } from '../http/faults.ts';
import type { BodyReader } from '../http/message.ts';

/** RFC 6455, 5.2: FIN and opcode, then the mask bit and 7 bits of length, then 0, 2 or 8 bytes more of it. */
const FIRST = 0;
const LENGTH = 1;
const EXTENDED = 2;
const PAYLOAD = 3;

const RESERVED_BITS = 0x70;
const MASKED = 0x80;
const TWO_BYTES = 126;
const EIGHT_BYTES = 127;

/**
 * A server's WebSocket frames (RFC 6455, 5), walked without copying: `ranges` are their payloads, in order, whatever
 * message they belong to. Throws upstream_invalid for what no server may send and nobody could search: a masked frame,
 * one of an extension (none was agreed to), a length beyond 2^53 - 1.
 */
export class WebSocketFrames implements BodyReader {
  readonly ranges: number[] = [];
  readonly trailerRanges: readonly number[] = [];
  /** Stays false: frames end with their connection. */
  readonly done = false;
  contentBytes = 0;
  #state = FIRST;
  /** Bytes of the extended length that are still to come, then of the payload. */
  #left = 0;
  #length = 0;

  read(chunk: Buffer, offset: number): number {
    this.ranges.length = 0;
    let at = offset;
    while (at < chunk.length) {
      if (this.#state === PAYLOAD) {
        const end = Math.min(chunk.length, at + this.#left);
        this.ranges.push(at, end);
        this.contentBytes += end - at;
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#state = FIRST;
      } else {
        this.#takeHeader(chunk[at] ?? 0);
        at++;
      }
    }
    return at;
  }

  /** A connection that ends without a close frame says so itself: the agent's client reports 1006. */
  end(): void {}

  #takeHeader(byte: number): void {
    if (this.#state === FIRST) {
      if (byte & RESERVED_BITS)
        throw upstreamInvalid('a WebSocket frame in it is of an extension that was not agreed to');
      this.#state = LENGTH;
    } else if (this.#state === LENGTH) {
      if (byte & MASKED) throw upstreamInvalid('a WebSocket frame in it is masked');
      this.#length = 0;
      this.#left = byte === EIGHT_BYTES ? 8 : byte === TWO_BYTES ? 2 : 0;
      if (this.#left > 0) this.#state = EXTENDED;
      else this.#begin(byte);
    } else {
      this.#length = this.#length * 256 + byte;
      if (this.#length > Number.MAX_SAFE_INTEGER)
        throw upstreamInvalid('a WebSocket frame in it is too long');
      this.#left--;
      if (this.#left === 0) this.#begin(this.#length);
    }
  }

  #begin(length: number): void {
    this.#left = length;
    this.#state = length > 0 ? PAYLOAD : FIRST;
  }
}
