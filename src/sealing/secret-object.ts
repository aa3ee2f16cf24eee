import type { Buffer } from 'node:buffer';
import { allocateSecret } from '../secret-buffer.ts';

export interface SecretField {
  readonly name: string;
  readonly value: Buffer;
}

/**
 * Reads a JSON object whose values are all strings (RFC 8259), the values into memory of their own, which the caller
 * wipes: JSON.parse would make strings of them, and strings cannot be wiped. Undefined where `bytes` is anything else.
 */
export function parseSecretObject(bytes: Buffer): SecretField[] | undefined {
  const scanner = new Scanner(bytes);
  const fields: SecretField[] = [];
  if (readObject(scanner, fields)) return fields;
  for (const field of fields) field.value.fill(0);
  return undefined;
}

function readObject(scanner: Scanner, fields: SecretField[]): boolean {
  if (!scanner.take(0x7b)) return false;
  if (scanner.take(0x7d)) return scanner.ended();
  for (;;) {
    const name = scanner.string();
    if (name === undefined || !scanner.take(0x3a)) return false;
    const value = scanner.string();
    if (value === undefined) return false;
    fields.push({ name: name.toString('utf8'), value });
    if (scanner.take(0x7d)) return scanner.ended();
    if (!scanner.take(0x2c)) return false;
  }
}

const ESCAPES: Readonly<Record<string, number>> = {
  '"': 0x22,
  '\\': 0x5c,
  '/': 0x2f,
  b: 0x08,
  f: 0x0c,
  n: 0x0a,
  r: 0x0d,
  t: 0x09,
};

class Scanner {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Skips white space, then consumes `byte` where it is next. */
  take(byte: number): boolean {
    this.#skipSpace();
    if (this.#bytes[this.#at] !== byte) return false;
    this.#at += 1;
    return true;
  }

  ended(): boolean {
    this.#skipSpace();
    return this.#at === this.#bytes.length;
  }

  /** A string's value in UTF-8, or undefined where none is next. Escapes never make it longer than its source. */
  string(): Buffer | undefined {
    if (!this.take(0x22)) return undefined;
    const end = this.#closingQuote();
    if (end === undefined) return undefined;
    const memory = allocateSecret(end - this.#at);
    let length = 0;
    while (this.#at < end) {
      const byte = this.#bytes[this.#at++] ?? 0;
      if (byte !== 0x5c) {
        memory[length++] = byte;
        continue;
      }
      const character = this.#escape();
      if (character === undefined) {
        memory.fill(0);
        return undefined;
      }
      length += writeUtf8(memory, length, character);
    }
    this.#at = end + 1;
    if (length === memory.length) return memory;
    const exact = allocateSecret(length);
    memory.copy(exact, 0, 0, length);
    memory.fill(0);
    return exact;
  }

  #closingQuote(): number | undefined {
    for (let at = this.#at; at < this.#bytes.length; at++) {
      const byte = this.#bytes[at] ?? 0;
      if (byte === 0x22) return at;
      if (byte < 0x20) return undefined;
      if (byte === 0x5c) at += 1;
    }
    return undefined;
  }

  /** The code point of the escape whose backslash is behind us; a lone surrogate is refused: UTF-8 has none. */
  #escape(): number | undefined {
    const letter = String.fromCharCode(this.#bytes[this.#at++] ?? 0);
    if (letter !== 'u') return ESCAPES[letter];
    const first = this.#hex4();
    if (first === undefined || first < 0xd800 || first > 0xdfff) return first;
    if (first > 0xdbff || this.#bytes[this.#at] !== 0x5c || this.#bytes[this.#at + 1] !== 0x75)
      return undefined;
    this.#at += 2;
    const second = this.#hex4();
    if (second === undefined || second < 0xdc00 || second > 0xdfff) return undefined;
    return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
  }

  #hex4(): number | undefined {
    let value = 0;
    for (let digit = 0; digit < 4; digit++) {
      const number = Number.parseInt(String.fromCharCode(this.#bytes[this.#at++] ?? 0), 16);
      if (Number.isNaN(number)) return undefined;
      value = value * 16 + number;
    }
    return value;
  }

  #skipSpace(): void {
    for (;;) {
      const byte = this.#bytes[this.#at];
      if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) return;
      this.#at += 1;
    }
  }
}

/** Writes a code point (no surrogate) in UTF-8. Answers how many bytes. */
function writeUtf8(memory: Buffer, at: number, point: number): number {
  if (point < 0x80) {
    memory[at] = point;
    return 1;
  }
  const more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  const lead = [0, 0xc0, 0xe0, 0xf0][more] ?? 0;
  memory[at] = lead | (point >> (6 * more));
  for (let index = 1; index <= more; index++)
    memory[at + index] = 0x80 | ((point >> (6 * (more - index))) & 0x3f);
  return more + 1;
}
