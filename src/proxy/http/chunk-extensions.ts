import type { Buffer } from 'node:buffer';
import { CR, FIELD_VALUE, TOKEN } from './chars.ts';
import type { Faults } from './faults.ts';

const NAME_START = 0;
const NAME = 1;
const VALUE_START = 2;
const VALUE = 3;
const QUOTED = 4;
const ESCAPED = 5;
const AFTER_QUOTED = 6;

const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Per chunk-size line. The body's own framing, not content: nothing honest comes near it. */
const LINE_BYTES = 4096;
/** Per body, on top of one byte for each byte of content: a body is not mostly extensions. */
const FREE_BYTES = 65536;

/**
 * The extensions of a chunk-size line (RFC 9112, 7.1.1), after the first ";": `name [ "=" ( token / quoted ) ]`, each
 * further one after ";", without the white space that the RFC calls bad. They are passed on with the chunk they are
 * part of, so they are checked as any field is, and bounded per line and per body.
 */
export class ChunkExtensions {
  readonly #faults: Faults;
  #state = NAME_START;
  #lineBytes = 0;
  #bodyBytes = 0;

  constructor(faults: Faults) {
    this.#faults = faults;
  }

  /** Returns the offset after the line's CR, or -1 when all was taken. `contentBytes`: the body's content so far. */
  scan(chunk: Buffer, from: number, end: number, contentBytes: number): number {
    for (let at = from; at < end; at++) {
      const byte = chunk[at] ?? 0;
      this.#lineBytes++;
      this.#bodyBytes++;
      if (this.#lineBytes > LINE_BYTES || this.#bodyBytes > FREE_BYTES + contentBytes) {
        throw this.#faults.malformed('its chunk extensions are too long');
      }
      if (byte === CR && this.#mayEnd()) {
        this.#state = NAME_START;
        this.#lineBytes = 0;
        return at + 1;
      }
      this.#state = this.#after(byte);
    }
    return -1;
  }

  #mayEnd(): boolean {
    return this.#state === NAME || this.#state === VALUE || this.#state === AFTER_QUOTED;
  }

  #after(byte: number): number {
    switch (this.#state) {
      case NAME_START:
        if (TOKEN[byte] === 1) return NAME;
        break;
      case NAME:
        if (TOKEN[byte] === 1) return NAME;
        if (byte === EQUALS) return VALUE_START;
        if (byte === SEMICOLON) return NAME_START;
        break;
      case VALUE_START:
        if (byte === QUOTE) return QUOTED;
        if (TOKEN[byte] === 1) return VALUE;
        break;
      case VALUE:
        if (TOKEN[byte] === 1) return VALUE;
        if (byte === SEMICOLON) return NAME_START;
        break;
      case QUOTED:
        if (byte === QUOTE) return AFTER_QUOTED;
        if (byte === BACKSLASH) return ESCAPED;
        if (FIELD_VALUE[byte] === 1) return QUOTED;
        break;
      case ESCAPED:
        if (FIELD_VALUE[byte] === 1) return QUOTED;
        break;
      default:
        if (byte === SEMICOLON) return NAME_START;
    }
    throw this.#faults.malformed('a chunk extension in it is malformed');
  }
}
