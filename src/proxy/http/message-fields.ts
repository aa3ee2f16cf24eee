import type { Buffer } from 'node:buffer';
import { CR, HTAB, SP, skipToken } from './chars.ts';
import type { Faults } from './faults.ts';
import { foldedEquals, nameEquals } from './field-name.ts';

const COMMA = 0x2c;
const NONE: readonly string[] = Object.freeze([]);
const ONLY_CLOSE: readonly string[] = Object.freeze(['close']);
const ONLY_KEEP_ALIVE: readonly string[] = Object.freeze(['keep-alive']);
/** More digits can exceed what a double counts exactly; 2^53 - 1 has 16, and nobody sends 10 petabytes. */
const LENGTH_DIGITS = 15;

/**
 * What requests and responses share: the fields that frame a message and those that concern its connection
 * (RFC 9112, 6 and 9). Stricter than the RFC: a length is one field with one number, a transfer coding exactly
 * "chunked", and a name that only a lax server would take for one of these (Content_Length) is refused.
 */
export class MessageFields {
  /** -1: no Content-Length. */
  contentLength = -1;
  chunked = false;
  connection: readonly string[] = NONE;
  readonly #faults: Faults;
  #names: string[] = [];

  constructor(faults: Faults) {
    this.#faults = faults;
  }

  reset(): void {
    this.contentLength = -1;
    this.chunked = false;
    this.connection = NONE;
  }

  /** Looks at one field line; the offsets are those of `FieldLines`. Throws the side's fault. */
  take(bytes: Buffer, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number): void {
    switch (nameEnd - nameStart) {
      case 10:
        if (nameEquals(bytes, nameStart, nameEnd, 'connection'))
          this.#takeConnection(bytes, valueStart, valueEnd);
        break;
      case 14:
        if (this.#isExactly(bytes, nameStart, nameEnd, 'content-length')) {
          this.#takeLength(bytes, valueStart, valueEnd);
        }
        break;
      case 17:
        if (this.#isExactly(bytes, nameStart, nameEnd, 'transfer-encoding')) {
          this.#takeCoding(bytes, valueStart, valueEnd);
        }
        break;
    }
  }

  /** RFC 9112, 6.1 and 6.3: what no sender may combine. A Connection that lists the length would have it dropped on the way. Call it once all fields are taken. */
  check(minor: 0 | 1): void {
    if (this.connection.includes('content-length') || this.connection.includes('host')) {
      throw this.#faults.malformed('its Connection lists a field that no recipient may drop');
    }
    if (!this.chunked) return;
    if (this.contentLength !== -1) {
      throw this.#faults.malformed('it has both a Transfer-Encoding and a Content-Length');
    }
    if (minor === 0) throw this.#faults.malformed('it is HTTP/1.0 and has a Transfer-Encoding');
  }

  /** RFC 9112, 9.3. */
  persistent(minor: 0 | 1): boolean {
    if (this.connection.includes('close')) return false;
    return minor === 1 || this.connection.includes('keep-alive');
  }

  /** Whether the field is `name`; one that equals it only with "_" for "-" is refused. */
  #isExactly(bytes: Buffer, start: number, end: number, name: string): boolean {
    if (!foldedEquals(bytes, start, end, name)) return false;
    if (nameEquals(bytes, start, end, name)) return true;
    throw this.#faults.malformed(`a field in it differs from ${name} by an underscore only`);
  }

  #takeLength(bytes: Buffer, start: number, end: number): void {
    if (this.contentLength !== -1) throw this.#faults.malformed('it has more than one Content-Length');
    const digits = end - start;
    if (digits < 1 || digits > LENGTH_DIGITS || (digits > 1 && bytes[start] === 0x30)) {
      throw this.#faults.malformed('its Content-Length is not one plain number of 1 to 15 digits');
    }
    let length = 0;
    for (let at = start; at < end; at++) {
      const digit = (bytes[at] ?? 0) - 0x30;
      if (digit < 0 || digit > 9) throw this.#faults.malformed('its Content-Length is not one plain number');
      length = 10 * length + digit;
    }
    this.contentLength = length;
  }

  #takeCoding(bytes: Buffer, start: number, end: number): void {
    if (this.chunked) throw this.#faults.malformed('it has more than one Transfer-Encoding');
    // llhttp reads "chunked" and a tab as another coding: the end of the line must follow, or spaces and it.
    let at = end;
    while (bytes[at] === SP) at++;
    if (bytes[at] !== CR || !nameEquals(bytes, start, end, 'chunked')) throw this.#faults.unknownCoding();
    this.chunked = true;
  }

  #takeConnection(bytes: Buffer, start: number, end: number): void {
    if (this.connection === NONE) {
      if (nameEquals(bytes, start, end, 'keep-alive')) {
        this.connection = ONLY_KEEP_ALIVE;
        return;
      }
      if (nameEquals(bytes, start, end, 'close')) {
        this.connection = ONLY_CLOSE;
        return;
      }
    }
    const names = Object.isFrozen(this.connection) ? [...this.connection] : this.#names;
    this.#listed(bytes, start, end, names);
    this.#names = names;
    this.connection = names;
  }

  /** Adds a comma-separated list of tokens, lower-cased; empty elements are skipped (RFC 9110, 5.6.1.2). */
  #listed(bytes: Buffer, start: number, end: number, names: string[]): void {
    let at = start;
    while (at < end) {
      while (at < end && (bytes[at] === SP || bytes[at] === HTAB)) at++;
      const from = at;
      at = skipToken(bytes, at, end);
      if (at > from) names.push(bytes.toString('latin1', from, at).toLowerCase());
      while (at < end && (bytes[at] === SP || bytes[at] === HTAB)) at++;
      if (at < end && bytes[at] !== COMMA)
        throw this.#faults.malformed('its Connection is not a list of names');
      at++;
    }
  }
}
