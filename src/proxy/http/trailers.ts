import type { Buffer } from 'node:buffer';
import { CR, FIELD_VALUE, FOLD, HTAB, LF, SP, TOKEN } from './chars.ts';
import type { Faults } from './faults.ts';
import type { HeadLimits } from './message.ts';

const LINE = 0;
const NAME = 1;
const VALUE = 2;
const LINE_LF = 3;
const LAST_LF = 4;

const COLON = 0x3a;

/**
 * What RFC 9110, 6.5.1 keeps out of trailers: framing, routing, modifiers of the request, authentication, control of
 * the response, and how the content is to be read. A server that merges trailers into the head would obey them.
 */
const REFUSED: ReadonlySet<string> = new Set(
  (
    'content-length transfer-encoding trailer connection keep-alive proxy-connection te upgrade host via ' +
    'forwarded x-forwarded-for x-forwarded-host x-forwarded-proto expect max-forwards range if-match if-none-match ' +
    'if-modified-since if-unmodified-since if-range cache-control pragma authorization proxy-authorization ' +
    'www-authenticate proxy-authenticate authentication-info proxy-authentication-info cookie set-cookie age date ' +
    'expires location retry-after vary warning content-encoding content-type content-range alt-svc'
  ).split(' '),
);

/** The trailer section of a chunked body: fields as strict as a head's, walked without copying, bounded. */
export class TrailerSection {
  /** Start and end within the chunk last scanned: the field lines, CRLF included. */
  readonly ranges: number[] = [];
  readonly #faults: Faults;
  readonly #limits: HeadLimits;
  readonly #refused: readonly string[];
  /** The name being read, folded; as bounded as the section. Names are not secret. */
  #name = '';
  #state = LINE;
  #bytes = 0;
  #fields = 0;

  constructor(faults: Faults, limits: HeadLimits, refused: readonly string[]) {
    this.#faults = faults;
    this.#limits = limits;
    this.#refused = refused.map((name) => name.toLowerCase().replaceAll('_', '-'));
  }

  /** Returns the offset after the empty line, or -1 when all was taken. Throws the side's fault. */
  scan(chunk: Buffer, from: number, end: number): number {
    let linesEnd = from;
    for (let at = from; at < end; at++) {
      const last = this.#state === LAST_LF;
      this.#take(chunk[at] ?? 0);
      if (last) {
        this.#range(from, linesEnd);
        return at + 1;
      }
      if (this.#state !== LAST_LF) linesEnd = at + 1;
    }
    this.#range(from, linesEnd);
    return -1;
  }

  #range(start: number, end: number): void {
    if (end > start) this.ranges.push(start, end);
  }

  #take(byte: number): void {
    this.#bytes++;
    if (this.#bytes > this.#limits.headBytes)
      throw this.#faults.malformed('its trailer section is too large');
    switch (this.#state) {
      case LINE:
        if (byte === CR) this.#state = LAST_LF;
        else this.#begin(byte);
        return;
      case NAME:
        if (TOKEN[byte] === 1) this.#name += String.fromCharCode(FOLD[byte] ?? 0);
        else if (byte === COLON) this.#endName();
        else throw this.#faults.malformed('a trailer field in it has a malformed name');
        return;
      case VALUE:
        if (byte === CR) this.#state = LINE_LF;
        else if (FIELD_VALUE[byte] !== 1)
          throw this.#faults.malformed('a trailer field in it has a control byte');
        return;
      default:
        if (byte !== LF) throw this.#faults.malformed('a CR in its trailer section is not followed by LF');
        this.#state = LINE;
    }
  }

  #begin(byte: number): void {
    if (++this.#fields > this.#limits.headFields)
      throw this.#faults.malformed('it has too many trailer fields');
    if (TOKEN[byte] !== 1) {
      const folded = byte === SP || byte === HTAB;
      throw this.#faults.malformed(
        `a trailer line in it begins with ${folded ? 'white space' : 'no field name'}`,
      );
    }
    this.#name = String.fromCharCode(FOLD[byte] ?? 0);
    this.#state = NAME;
  }

  #endName(): void {
    if (REFUSED.has(this.#name) || this.#refused.includes(this.#name)) {
      throw this.#faults.malformed('a field stands in its trailer section that belongs into the head');
    }
    this.#state = VALUE;
  }
}
