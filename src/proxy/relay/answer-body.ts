import { Buffer } from 'node:buffer';
import { allocateSecret } from '../../secret-buffer.ts';
import type { BodyReader } from '../http/message.ts';
import type { Scrubber } from '../scrub/scrubber.ts';

/** Where an answer goes. It takes the bytes: they may be overwritten once it returns. */
export interface PassesOn {
  passOn(bytes: Buffer): void;
}

const NOTHING = Buffer.alloc(0);

/**
 * The body of an answer on its way to the agent, the credential in it overwritten, its framing kept. A chunk goes out
 * as it came, in one write, with the head that came in it.
 */
export class AnswerBody {
  readonly #reader: BodyReader;
  readonly #scrubber: Scrubber;
  readonly #unchunked: boolean;
  readonly #to: PassesOn;

  /** `unchunked`: the content alone, for an agent of HTTP/1.0, which knows no chunks. */
  constructor(reader: BodyReader, scrubber: Scrubber, unchunked: boolean, to: PassesOn) {
    this.#reader = reader;
    this.#scrubber = scrubber;
    this.#unchunked = unchunked;
    this.#to = to;
  }

  get done(): boolean {
    return this.#reader.done;
  }

  /**
   * Passes on what belongs to it in `chunk` from `at`, with the head that ends there and starts at `headStart` (-1:
   * none); returns the offset after it. Throws what a BodyReader throws.
   */
  take(chunk: Buffer, at: number, headStart: number): number {
    const raw = chunk.subarray(at);
    const end = this.#reader.read(raw, 0);
    const whole = raw.subarray(0, end);
    const pieces = this.#search(whole);
    if (headStart >= 0 && pieces.length === 1 && pieces[0] === whole) {
      this.#to.passOn(chunk.subarray(headStart, at + end));
      return at + end;
    }
    if (headStart >= 0) this.#to.passOn(chunk.subarray(headStart, at));
    this.#passOn(pieces);
    return at + end;
  }

  /** The server's connection ended: passes on what was held back. Throws upstream_closed where that is too early. */
  end(): void {
    this.#reader.end();
    this.#passOn(this.#scrubber.feed(NOTHING, [], true));
  }

  #passOn(pieces: readonly Buffer[]): void {
    for (const piece of pieces) {
      if (piece.length > 0) this.#to.passOn(piece);
      piece.fill(0);
    }
  }

  /** `raw`, which has just been read: itself, or views of it and buffers of their own by turns. */
  #search(raw: Buffer): Buffer[] {
    const { ranges, trailerRanges, done } = this.#reader;
    if (this.#unchunked) return this.#scrubber.feed(contentOf(raw, ranges), [0, sizeOf(ranges)], done);
    // Trailer lines, which a secret could be put into as well, follow the content.
    const searched = trailerRanges.length === 0 ? ranges : [...ranges, ...trailerRanges];
    return this.#scrubber.feed(raw, searched, done);
  }
}

function contentOf(raw: Buffer, ranges: readonly number[]): Buffer {
  const content = allocateSecret(sizeOf(ranges));
  let at = 0;
  for (let i = 0; i < ranges.length; i += 2) at += raw.copy(content, at, ranges[i], ranges[i + 1]);
  return content;
}

function sizeOf(ranges: readonly number[]): number {
  let size = 0;
  for (let i = 0; i < ranges.length; i += 2) size += (ranges[i + 1] ?? 0) - (ranges[i] ?? 0);
  return size;
}
