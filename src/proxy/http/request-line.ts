import type { Buffer } from 'node:buffer';
import { SallyportError } from '../../errors.ts';
import { CR, LF, SP, skipToken, TARGET } from './chars.ts';
import { REQUEST_FAULTS } from './faults.ts';
import type { StartLine } from './head-scanner.ts';
import { badRequest } from './message.ts';
import { HttpVersion } from './version.ts';

const METHOD = 0;
const TARGET_BYTES = 1;
const VERSION = 2;
const LINE_CR = 3;
const LINE_LF = 4;

/** Longer than every registered method (RFC 9110, 16.1); a longer one gets 501, as RFC 9112, 3 asks. */
const METHOD_BYTES = 32;

/** The request-line (RFC 9112, 3): exactly one space between its three parts, ended by CRLF. */
export class RequestLine implements StartLine {
  methodEnd = 0;
  targetStart = 0;
  targetEnd = 0;
  readonly #version = new HttpVersion(REQUEST_FAULTS);
  readonly #targetBytes: number;
  #state = METHOD;

  constructor(targetBytes: number) {
    this.#targetBytes = targetBytes;
  }

  get minor(): 0 | 1 {
    return this.#version.minor;
  }

  reset(): void {
    this.#state = METHOD;
    this.#version.reset();
  }

  scan(bytes: Buffer, base: number, from: number, end: number): number {
    let at = from;
    if (this.#state === METHOD) {
      const stop = Math.min(end, base + METHOD_BYTES + 1);
      at = skipToken(bytes, at, stop);
      if (at - base > METHOD_BYTES) {
        throw new SallyportError(
          'method_not_supported',
          `The request was refused because its method is longer than ${METHOD_BYTES} bytes. Use a registered method.`,
        );
      }
      if (at === end) return -1;
      if (bytes[at] !== SP || at === base) throw badRequest('it does not begin with a method and one space');
      this.methodEnd = at - base;
      at++;
      this.targetStart = at - base;
      this.#state = TARGET_BYTES;
    }
    if (this.#state === TARGET_BYTES) {
      const start = base + this.targetStart;
      const stop = Math.min(end, start + this.#targetBytes + 1);
      while (at < stop && TARGET[bytes[at] ?? 0] === 1) at++;
      if (at - start > this.#targetBytes) {
        throw new SallyportError(
          'uri_too_long',
          `The request was refused because its target is longer than ${this.#targetBytes} bytes. Shorten the URL.`,
        );
      }
      if (at === end) return -1;
      if (bytes[at] !== SP || at === start) {
        throw badRequest(
          'its request-target is empty, not followed by one space, or has a byte that URLs cannot have',
        );
      }
      this.targetEnd = at - base;
      at++;
      this.#state = VERSION;
    }
    if (this.#state === VERSION) {
      at = this.#version.scan(bytes, at, end);
      if (at === -1) return -1;
      this.#state = LINE_CR;
    }
    if (this.#state === LINE_CR) {
      if (at === end) return -1;
      if (bytes[at] !== CR) throw badRequest('its request-line does not end with the version and CRLF');
      at++;
      this.#state = LINE_LF;
    }
    if (at === end) return -1;
    if (bytes[at] !== LF) throw badRequest('a CR in it is not followed by LF');
    return at + 1;
  }
}
