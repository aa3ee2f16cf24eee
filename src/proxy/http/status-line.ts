import type { Buffer } from 'node:buffer';
import { CR, LF, SP, skipFieldValue } from './chars.ts';
import { RESPONSE_FAULTS, upstreamInvalid } from './faults.ts';
import type { StartLine } from './head-scanner.ts';
import { HttpVersion } from './version.ts';

const VERSION = 0;
const BEFORE_STATUS = 1;
const STATUS = 2;
const AFTER_STATUS = 3;
const REASON = 4;
const LINE_LF = 5;

/**
 * The status-line (RFC 9112, 4). The reason phrase says nothing to a program and may be missing, with its space or
 * without, as servers do; it may not hold control bytes.
 */
export class StatusLine implements StartLine {
  status = 0;
  readonly #version = new HttpVersion(RESPONSE_FAULTS);
  #state = VERSION;
  #digits = 0;

  get minor(): 0 | 1 {
    return this.#version.minor;
  }

  reset(): void {
    this.#state = VERSION;
    this.#version.reset();
    this.status = 0;
    this.#digits = 0;
  }

  scan(bytes: Buffer, _base: number, from: number, end: number): number {
    let at = from;
    if (this.#state === VERSION) {
      at = this.#version.scan(bytes, at, end);
      if (at === -1) return -1;
      this.#state = BEFORE_STATUS;
    }
    if (this.#state === BEFORE_STATUS) {
      if (at === end) return -1;
      if (bytes[at] !== SP) throw upstreamInvalid('its status-line has no single space after the version');
      at++;
      this.#state = STATUS;
    }
    if (this.#state === STATUS) {
      while (this.#digits < 3) {
        if (at === end) return -1;
        this.#takeDigit(bytes[at] ?? 0);
        at++;
      }
      this.#state = AFTER_STATUS;
    }
    if (this.#state === AFTER_STATUS) {
      if (at === end) return -1;
      if (bytes[at] !== CR) {
        if (bytes[at] !== SP)
          throw upstreamInvalid('its status is not followed by a space or the end of the line');
        at++;
      }
      this.#state = REASON;
    }
    if (this.#state === REASON) {
      at = skipFieldValue(bytes, at, end);
      if (at === end) return -1;
      if (bytes[at] !== CR) throw upstreamInvalid('its reason phrase has a control byte or a bare LF');
      at++;
      this.#state = LINE_LF;
    }
    if (at === end) return -1;
    if (bytes[at] !== LF) throw upstreamInvalid('a CR in it is not followed by LF');
    return at + 1;
  }

  #takeDigit(byte: number): void {
    const first = this.#digits === 0 ? 0x31 : 0x30;
    if (byte < first || byte > 0x39) throw upstreamInvalid('its status is not a number from 100 to 999');
    this.status = 10 * this.status + byte - 0x30;
    this.#digits++;
  }
}
