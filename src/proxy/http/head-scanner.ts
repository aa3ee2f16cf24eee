import { Buffer } from 'node:buffer';
import { SallyportError } from '../../errors.ts';
import { CR, LF } from './chars.ts';
import type { Faults } from './faults.ts';
import { FieldScanner } from './field-scanner.ts';
import type { HeadLimits, HeadReader } from './message.ts';

/**
 * A start line's grammar. `scan` takes bytes from `at` to `end` and returns the offset after the line's LF, or -1 when
 * it took all and needs more; it is then called again with the bytes that follow. Positions that it keeps are relative
 * to `base`, where the head begins.
 */
export interface StartLine {
  scan(bytes: Buffer, base: number, at: number, end: number): number;
  reset(): void;
}

const FIRST_HOLD = 2048;

/**
 * Finds a head in bytes that may be cut anywhere, one pass over them: every state survives a cut, so a byte is looked
 * at once however the bytes arrive, and a fault is found at the same byte. A head that lies whole in a chunk is not
 * copied; one that is cut is gathered in a buffer of its own, wiped by `reset` and by a fault. After a fault it reads
 * no more until it is reset: bytes after a malformed head mean nothing.
 */
export class HeadScanner<H> implements HeadReader<H> {
  readonly #fields: FieldScanner;
  readonly #understand: (bytes: Buffer, fields: FieldScanner) => H;
  #head: H | undefined;
  #fault: unknown;
  readonly #line: StartLine;
  readonly #limits: HeadLimits;
  readonly #faults: Faults;
  #emptyLine: 'possible' | 'begun' | 'past';
  readonly #emptyLineAllowed: boolean;
  #lineDone = false;
  #held: Buffer | undefined;
  #heldLength = 0;

  /**
   * `emptyLineAllowed`: skip one CRLF before the start line, as RFC 9112, 2.2 asks of a server. `understand` makes of a
   * whole head, whose start line `line` has read, what it means; it may throw.
   */
  constructor(
    line: StartLine,
    limits: HeadLimits,
    faults: Faults,
    emptyLineAllowed: boolean,
    understand: (bytes: Buffer, fields: FieldScanner) => H,
  ) {
    this.#understand = understand;
    this.#fields = new FieldScanner(limits.headFields, faults);
    this.#line = line;
    this.#limits = limits;
    this.#faults = faults;
    this.#emptyLineAllowed = emptyLineAllowed;
    this.#emptyLine = emptyLineAllowed ? 'possible' : 'past';
  }

  get head(): H {
    if (this.#head === undefined) {
      throw new SallyportError(
        'internal',
        'A head was asked for before it was read; this is a fault of the proxy.',
      );
    }
    return this.#head;
  }

  read(chunk: Buffer, offset: number): number {
    if (this.#fault !== undefined) throw this.#fault;
    if (this.#head !== undefined) this.reset();
    try {
      const start = this.#emptyLine === 'past' ? offset : this.#skipEmptyLine(chunk, offset);
      if (start >= chunk.length) return -1;
      return this.#held ? this.#readOn(chunk, start) : this.#readFirst(chunk, start);
    } catch (error) {
      this.reset();
      this.#fault = error;
      throw error;
    }
  }

  reset(): void {
    this.#held?.fill(0);
    this.#held = undefined;
    this.#heldLength = 0;
    this.#emptyLine = this.#emptyLineAllowed ? 'possible' : 'past';
    this.#lineDone = false;
    this.#head = undefined;
    this.#fault = undefined;
    this.#line.reset();
    this.#fields.reset();
  }

  #readFirst(chunk: Buffer, start: number): number {
    const end = this.#advance(chunk, start, start, chunk.length);
    if (end === -1) this.#hold(chunk, start, chunk.length);
    else this.#head = this.#understand(chunk.subarray(start, end), this.#fields);
    return end;
  }

  #readOn(chunk: Buffer, start: number): number {
    const before = this.#heldLength;
    const room = this.#limits.headBytes - before;
    const held = this.#hold(chunk, start, Math.min(chunk.length, start + room));
    const end = this.#advance(held, 0, before, this.#heldLength);
    if (end === -1) return -1;
    held.fill(0, end, this.#heldLength);
    this.#head = this.#understand(held.subarray(0, end), this.#fields);
    return start + end - before;
  }

  /** Scans on from `at`; `base` is where the head begins. Returns the offset after the head or -1. */
  #advance(bytes: Buffer, base: number, at: number, available: number): number {
    const limit = base + this.#limits.headBytes;
    const end = Math.min(available, limit);
    let next = at;
    if (!this.#lineDone) {
      next = this.#line.scan(bytes, base, at, end);
      this.#lineDone = next !== -1;
    }
    if (next !== -1) next = this.#fields.scan(bytes, base, next, end);
    if (next === -1 && end === limit) {
      throw this.#faults.tooLarge(`its head is larger than ${this.#limits.headBytes} bytes`);
    }
    return next;
  }

  #skipEmptyLine(chunk: Buffer, offset: number): number {
    let at = offset;
    if (this.#emptyLine === 'possible' && at < chunk.length) {
      if (chunk[at] !== CR) {
        this.#emptyLine = 'past';
        return at;
      }
      this.#emptyLine = 'begun';
      at++;
    }
    if (this.#emptyLine === 'begun' && at < chunk.length) {
      if (chunk[at] !== LF) throw this.#faults.malformed('it begins with a CR that no LF follows');
      this.#emptyLine = 'past';
      at++;
    }
    return at;
  }

  #hold(chunk: Buffer, start: number, end: number): Buffer {
    const length = this.#heldLength + end - start;
    let held = this.#held;
    if (!held || held.length < length) {
      const size = Math.max(FIRST_HOLD, Math.min(2 * length, this.#limits.headBytes));
      const larger = Buffer.allocUnsafeSlow(Math.max(size, length));
      if (held) {
        held.copy(larger, 0, 0, this.#heldLength);
        held.fill(0);
      }
      held = larger;
      this.#held = held;
    }
    chunk.copy(held, this.#heldLength, start, end);
    this.#heldLength = length;
    return held;
  }
}
