import { Buffer } from 'node:buffer';
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { type Head, isLinkLine, LINK_LINE_MAX, parseLinkLine } from './chain.ts';
import { BATCH_BYTES } from './journal.ts';

/** One batch of a journal. Lines are counted from 1 where reading began. */
export interface Batch {
  /** The records' lines, newlines included; valid until the next batch is read. */
  readonly lines: Buffer;
  readonly firstLine: number;
  readonly linkLine: number;
  /** What the link line says: whether it is true is for the chain to tell. */
  readonly head: Head;
  /** Set where the lines were more than a writer puts into one batch: `lines` is then incomplete. */
  readonly oversize: boolean;
}

const CHUNK = 128 * 1024;
const MOST = BATCH_BYTES + LINK_LINE_MAX;
const NEWLINE = 0x0a;
const EMPTY = Buffer.alloc(0);

/**
 * Reads a journal batch by batch, in bounded memory whatever the file holds. Keeps no descriptor open and, at the
 * file's end, no buffer, so that thousands of journals can be read side by side. Throws the system's errors.
 */
export class BatchReader {
  readonly #path: string;
  /** Offset in the file of the buffer's first byte. */
  #base: number;
  #buffer = EMPTY;
  #filled = 0;
  /** Where the batch begins in the buffer, and the line that is being looked at. */
  #start = 0;
  #scan = 0;
  /** Up to here there is no newline after #scan. */
  #searched = 0;
  #line = 0;
  #batchLine = 1;
  #oversize = false;
  #aligned: boolean;

  /** From byte `offset` on: beyond 0, what comes before the first whole link line is passed over. */
  constructor(path: string, offset = 0) {
    this.#path = path;
    this.#base = offset;
    this.#aligned = offset === 0;
  }

  /** The next whole batch; undefined at the end of the file, where it may be called again when the file has grown. */
  next(): Batch | undefined {
    for (;;) {
      const newline = this.#buffer.subarray(0, this.#filled).indexOf(NEWLINE, this.#searched);
      if (newline < 0) {
        this.#searched = this.#filled;
        if (!this.#fill()) return this.#atEnd();
        continue;
      }
      const line = this.#buffer.subarray(this.#scan, newline);
      this.#line++;
      const linesEnd = this.#scan;
      this.#scan = newline + 1;
      this.#searched = this.#scan;
      const head = isLinkLine(line) ? parseLinkLine(line) : undefined;
      if (!head) continue;
      const batch = {
        lines: this.#buffer.subarray(this.#start, linesEnd),
        firstLine: this.#batchLine,
        linkLine: this.#line,
        head,
        oversize: this.#oversize,
      };
      this.#begin();
      if (this.#aligned) return batch;
      this.#aligned = true;
    }
  }

  /** Whether a batch's beginning has been found: false only until the first link line after `offset`. */
  get aligned(): boolean {
    return this.#aligned;
  }

  /** At the end of the file: the first line of what stands after the last link, and its bytes (0: nothing does). */
  get rest(): { readonly line: number; readonly bytes: number } {
    return { line: this.#batchLine, bytes: this.#restBytes };
  }
  #restBytes = 0;

  #begin(): void {
    this.#start = this.#scan;
    this.#batchLine = this.#line + 1;
    this.#oversize = false;
  }

  /** Forgets the unfinished batch, so that it is read again, whole, when the file has grown. */
  #atEnd(): undefined {
    this.#restBytes = this.#filled - this.#start;
    if (!this.#oversize) {
      this.#base += this.#start;
      this.#buffer = EMPTY;
      this.#filled = 0;
      this.#start = 0;
      this.#scan = 0;
      this.#searched = 0;
      this.#line = this.#batchLine - 1;
    }
    return undefined;
  }

  /** Reads on; false at the end of the file. */
  #fill(): boolean {
    if (statSync(this.#path).size <= this.#base + this.#filled) return false; // no buffer for a journal at rest
    if (this.#filled === this.#buffer.length) this.#makeRoom();
    const fd = openSync(this.#path, 'r');
    try {
      const room = this.#buffer.length - this.#filled;
      const count = readSync(fd, this.#buffer, this.#filled, room, this.#base + this.#filled);
      this.#filled += count;
      return count > 0;
    } finally {
      closeSync(fd);
    }
  }

  #makeRoom(): void {
    if (this.#start > 0) {
      this.#drop(this.#start);
    } else if (this.#buffer.length < MOST) {
      const larger = Buffer.allocUnsafeSlow(Math.min(MOST, Math.max(CHUNK, 2 * this.#buffer.length)));
      this.#buffer.copy(larger, 0, 0, this.#filled);
      this.#buffer = larger;
    } else {
      this.#oversize = true;
      this.#drop(this.#scan > 0 ? this.#scan : this.#filled);
    }
  }

  #drop(count: number): void {
    this.#buffer.copyWithin(0, count, this.#filled);
    this.#base += count;
    this.#filled -= count;
    this.#start = Math.max(0, this.#start - count);
    this.#scan = Math.max(0, this.#scan - count);
    this.#searched = Math.max(0, this.#searched - count);
  }
}
