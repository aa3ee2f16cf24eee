import type { Buffer } from 'node:buffer';
import { CR, HTAB, LF, SP, skipFieldValue, skipToken } from './chars.ts';
import type { Faults } from './faults.ts';

const LINE = 0;
const NAME = 1;
const BEFORE_VALUE = 2;
const VALUE = 3;
const LINE_LF = 4;
const LAST_LF = 5;

const COLON = 0x3a;
const FIRST_FIELDS = 32;

/**
 * Scans a field section (RFC 9112, 5) into offsets, one pass, resumable at any byte. Refuses whatever two parsers could
 * read in two ways: a bare CR or LF, a folded line, white space around a name, an empty name, a control byte.
 */
export class FieldScanner {
  /** As `FieldLines` says; replaced by a longer one as fields come. */
  offsets = new Uint32Array(4 * FIRST_FIELDS);
  count = 0;
  readonly #maxFields: number;
  readonly #faults: Faults;
  #state = LINE;

  constructor(maxFields: number, faults: Faults) {
    this.#maxFields = maxFields;
    this.#faults = faults;
  }

  reset(): void {
    this.count = 0;
    this.#state = LINE;
  }

  /** Returns the offset after the empty line, or -1 when all up to `end` was taken. Throws the side's fault. */
  scan(bytes: Buffer, base: number, from: number, end: number): number {
    let at = from;
    let state = this.#state;
    let offsets = this.offsets;
    let field = 4 * this.count;
    while (at < end) {
      if (state === LINE) {
        if (bytes[at] === CR) {
          at++;
          state = LAST_LF;
          continue;
        }
        if (this.count === this.#maxFields) {
          throw this.#faults.tooLarge(`it has more than ${this.#maxFields} fields`);
        }
        if (field === offsets.length) offsets = this.#grow();
        offsets[field] = at - base;
        state = NAME;
      }
      if (state === NAME) {
        at = skipToken(bytes, at, end);
        if (at === end) break;
        const empty = at - base === offsets[field];
        if (bytes[at] !== COLON || empty) throw this.#badName(bytes[at], empty);
        offsets[field + 1] = at - base;
        at++;
        state = BEFORE_VALUE;
      }
      if (state === BEFORE_VALUE) {
        while (at < end && (bytes[at] === SP || bytes[at] === HTAB)) at++;
        if (at === end) break;
        offsets[field + 2] = at - base;
        state = VALUE;
      }
      if (state === VALUE) {
        at = skipFieldValue(bytes, at, end);
        if (at === end) break;
        if (bytes[at] !== CR) throw this.#badValue(bytes[at]);
        offsets[field + 3] = trimmedEnd(bytes, base + (offsets[field + 2] ?? 0), at) - base;
        at++;
        state = LINE_LF;
        if (at === end) break;
      }
      if (bytes[at] !== LF) throw this.#faults.malformed('a CR in it is not followed by LF');
      at++;
      if (state === LAST_LF) {
        this.#state = LINE;
        return at;
      }
      this.count++;
      field += 4;
      state = LINE;
    }
    this.#state = state;
    return -1;
  }

  #grow(): Uint32Array<ArrayBuffer> {
    const longer = new Uint32Array(2 * this.offsets.length);
    longer.set(this.offsets);
    this.offsets = longer;
    return longer;
  }

  #badName(byte: number | undefined, first: boolean): Error {
    if (byte === LF) return this.#faults.malformed('a line in it ends without CR');
    if (first && byte === COLON) return this.#faults.malformed('a field in it has no name');
    if (byte === SP || byte === HTAB) {
      return this.#faults.malformed(
        first ? 'a line in it begins with white space' : 'white space stands before a colon',
      );
    }
    return this.#faults.malformed('a field name in it has a byte that names cannot have');
  }

  #badValue(byte: number | undefined): Error {
    if (byte === LF) return this.#faults.malformed('a line in it ends without CR');
    return this.#faults.malformed('a field value in it has a control byte');
  }
}

function trimmedEnd(bytes: Buffer, start: number, end: number): number {
  let at = end;
  while (at > start && (bytes[at - 1] === SP || bytes[at - 1] === HTAB)) at--;
  return at;
}
