import type { Buffer } from 'node:buffer';
import type { Faults } from './faults.ts';

const NAME = 'HTTP/';
const LENGTH = 8;
const ZERO = 0x30;
const ONE = 0x31;
const NINE = 0x39;
const DOT = 0x2e;

/** HTTP-version (RFC 9112, 2.3), case-sensitive, byte by byte: a wrong one is refused at its first wrong byte. */
export class HttpVersion {
  minor: 0 | 1 = 1;
  readonly #faults: Faults;
  #seen = 0;
  #major = 0;

  constructor(faults: Faults) {
    this.#faults = faults;
  }

  reset(): void {
    this.#seen = 0;
  }

  /** Returns the offset after the version, or -1 when more is needed. */
  scan(bytes: Buffer, from: number, end: number): number {
    if (this.#seen === 0 && end - from >= LENGTH && isVersion1(bytes, from)) {
      this.minor = bytes[from + 7] === ONE ? 1 : 0;
      this.#seen = LENGTH;
      return from + LENGTH;
    }
    let at = from;
    while (this.#seen < LENGTH) {
      if (at === end) return -1;
      this.#take(bytes[at] ?? 0);
      at++;
    }
    return at;
  }

  #take(byte: number): void {
    const index = this.#seen++;
    const isDigit = byte >= ZERO && byte <= NINE;
    if (index < 5 ? byte !== NAME.charCodeAt(index) : index === 6 ? byte !== DOT : !isDigit) {
      throw this.#faults.malformed('its start line has no HTTP version where one must stand');
    }
    if (index === 5) this.#major = byte;
    if (index !== 7) return;
    if (this.#major !== ONE || byte > ONE) throw this.#faults.unknownVersion();
    this.minor = byte === ONE ? 1 : 0;
  }
}

/** What nearly every message has, whole in its first chunk. */
function isVersion1(bytes: Buffer, at: number): boolean {
  for (let i = 0; i < 7; i++) {
    if (bytes[at + i] !== 'HTTP/1.'.charCodeAt(i)) return false;
  }
  return bytes[at + 7] === ONE || bytes[at + 7] === ZERO;
}
