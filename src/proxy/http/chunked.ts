import type { Buffer } from 'node:buffer';
import { CR, HEX, LF } from './chars.ts';
import { ChunkExtensions } from './chunk-extensions.ts';
import type { Faults } from './faults.ts';
import type { BodyReader, HeadLimits } from './message.ts';
import { TrailerSection } from './trailers.ts';

const SIZE = 0;
const EXTENSIONS = 1;
const SIZE_LF = 2;
const DATA = 3;
const DATA_CR = 4;
const DATA_LF = 5;
const TRAILERS = 6;
const DONE = 7;

/** 15 digits are beyond 2^53 - 1 already, which is checked too; padding with zeros has no honest use. */
const SIZE_DIGITS = 15;
const SEMICOLON = 0x3b;

/**
 * Chunked coding (RFC 9112, 7.1), walked without copying. Sizes are 1 to 15 hexadecimal digits directly followed by CR
 * or an extension; every line ends with CRLF, as does the data; extensions and trailers are checked and bounded.
 */
export class ChunkedBody implements BodyReader {
  readonly ranges: number[] = [];
  contentBytes = 0;
  readonly #faults: Faults;
  readonly #extensions: ChunkExtensions;
  readonly #trailers: TrailerSection;
  readonly #cutOff: () => Error;
  #fault: unknown;
  #state = SIZE;
  #digits = 0;
  /** The size while it is read, then what is left of the chunk. */
  #left = 0;

  constructor(faults: Faults, limits: HeadLimits, refusedTrailers: readonly string[], cutOff: () => Error) {
    this.#faults = faults;
    this.#extensions = new ChunkExtensions(faults);
    this.#trailers = new TrailerSection(faults, limits, refusedTrailers);
    this.#cutOff = cutOff;
  }

  get done(): boolean {
    return this.#state === DONE;
  }

  get trailerRanges(): readonly number[] {
    return this.#trailers.ranges;
  }

  end(): void {
    if (this.#fault !== undefined) throw this.#fault;
    if (this.#state !== DONE) throw this.#cutOff();
  }

  read(chunk: Buffer, offset: number): number {
    if (this.#fault !== undefined) throw this.#fault;
    this.ranges.length = 0;
    this.#trailers.ranges.length = 0;
    try {
      return this.#walk(chunk, offset);
    } catch (error) {
      this.#fault = error; // no later byte may find its way back into a body that was refused
      throw error;
    }
  }

  #walk(chunk: Buffer, offset: number): number {
    let at = offset;
    const end = chunk.length;
    while (at < end && this.#state !== DONE) {
      if (this.#state === DATA) {
        const stop = Math.min(end, at + this.#left);
        this.ranges.push(at, stop);
        this.contentBytes += stop - at;
        this.#left -= stop - at;
        at = stop;
        if (this.#left === 0) this.#state = DATA_CR;
      } else if (this.#state === EXTENSIONS) {
        at = this.#extensions.scan(chunk, at, end, this.contentBytes);
        if (at !== -1) this.#state = SIZE_LF;
        else return end;
      } else if (this.#state === TRAILERS) {
        at = this.#trailers.scan(chunk, at, end);
        if (at !== -1) this.#state = DONE;
        else return end;
      } else {
        this.#takeFraming(chunk[at] ?? 0);
        at++;
      }
    }
    return at;
  }

  /** One byte of a size line or of the CRLF after the data. */
  #takeFraming(byte: number): void {
    if (this.#state === SIZE) {
      this.#takeSize(byte);
    } else if (this.#state === DATA_CR) {
      if (byte !== CR) throw this.#faults.malformed("a chunk's data is not followed by CRLF");
      this.#state = DATA_LF;
    } else {
      if (byte !== LF) throw this.#faults.malformed('a CR in its chunked body is not followed by LF');
      if (this.#state === DATA_LF) this.#state = SIZE;
      else this.#state = this.#left === 0 ? TRAILERS : DATA;
      this.#digits = 0;
    }
  }

  #takeSize(byte: number): void {
    const digit = HEX[byte] ?? 255;
    if (digit < 16) {
      this.#left = (this.#digits === 0 ? 0 : 16 * this.#left) + digit;
      this.#digits++;
      if (this.#digits > SIZE_DIGITS || this.#left > Number.MAX_SAFE_INTEGER) {
        throw this.#faults.malformed('a chunk size in it is too large');
      }
      return;
    }
    if (this.#digits === 0 || (byte !== CR && byte !== SEMICOLON)) {
      throw this.#faults.malformed('a chunk size in it is not a plain hexadecimal number');
    }
    this.#state = byte === CR ? SIZE_LF : EXTENSIONS;
  }
}
