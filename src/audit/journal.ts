import { Buffer } from 'node:buffer';
import { hash } from 'node:crypto';
import { fstatSync, ftruncateSync, writeSync } from 'node:fs';
import { SallyportError } from '../errors.ts';
import { toAscii } from './ascii.ts';
import { chainStart, HASH_LENGTH, type Head, LINK_LINE_MAX, linkLine } from './chain.ts';
import type { JournalRecord } from './record.ts';

/** Called once the batch is in the file, or with `journal_unavailable` once it is certain that it is not. */
export type FlushCallback = (error?: SallyportError) => void;

interface Settled {
  readonly callbacks: readonly FlushCallback[];
  readonly error: SallyportError | undefined;
}

/** Most bytes of lines in one batch: what readers must be able to hold. */
export const BATCH_BYTES = 1024 * 1024;

/**
 * Writes one journal file: what is appended within one turn of the event loop goes out as one batch, in one write,
 * under one link, when the turn's input has been dealt with (setImmediate). Either the whole batch is in the file or
 * nothing of it: after a short write or an error the tail is cut back, and the next batch tries anew.
 *
 * Safe against the death of the process, not against that of the machine: nothing is synced.
 */
export class JournalWriter {
  readonly fileName: string;
  readonly #fd: number;
  /** The previous link's hash, then the batch's lines: laid out so that hash and write need no copy. */
  readonly #buffer = Buffer.allocUnsafeSlow(HASH_LENGTH + BATCH_BYTES + LINK_LINE_MAX);
  /** The turn's lines, made bytes once for all of them. */
  #lines = '';
  #head: Head;
  /** Bytes of the whole batches in the file. */
  #length = 0;
  /** Bytes beyond #length may be in the file: to be cut before anything else is written. */
  #torn = false;
  #callbacks: FlushCallback[] = [];
  #settled: Settled[] = [];
  #scheduled = false;

  /**
   * `fd`: the empty journal, opened for appending; `fileName`: its name without the folder, on which the chain
   * hangs. Throws journal_unavailable where the file is not a regular, empty one: a chain cannot be taken up again.
   */
  constructor(fd: number, fileName: string) {
    const stats = fstatSync(fd);
    if (!stats.isFile() || stats.size !== 0) {
      throw new SallyportError(
        'journal_unavailable',
        `The audit journal ${fileName} is not a new, empty file; start the process again with one.`,
      );
    }
    this.#fd = fd;
    this.fileName = fileName;
    this.#head = chainStart(fileName);
    this.#buffer.write(this.#head.hash, 0, 'latin1');
  }

  /** The newest link in the file. */
  get head(): Head {
    return this.#head;
  }

  /** Appends a record to this turn's batch. Throws journal_unavailable for one that is larger than a batch. */
  append(record: JournalRecord): void {
    this.appendLine(toAscii(JSON.stringify(record)));
  }

  /** Like `append`, for a record already written as JSON: ASCII only, one line, without the newline. */
  appendLine(line: string): void {
    const bytes = line.length + 1;
    if (bytes > BATCH_BYTES) {
      throw new SallyportError(
        'journal_unavailable',
        `An audit record of ${bytes} bytes is larger than a journal takes (${BATCH_BYTES}); send a shorter request.`,
      );
    }
    if (this.#lines.length + bytes > BATCH_BYTES) this.#writeBatch();
    this.#lines += `${line}\n`;
    this.#schedule();
  }

  /** Calls back, in a later turn, when all that was appended so far is written or has failed. */
  onFlush(callback: FlushCallback): void {
    this.#callbacks.push(callback);
    this.#schedule();
  }

  /** Resolves when all that was appended so far is written; rejects with journal_unavailable where it is not. */
  flushed(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.onFlush((error) => (error ? reject(error) : resolve()));
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#scheduled = false;
    this.#writeBatch();
    const settled = this.#settled;
    this.#settled = []; // callbacks may append: that is the next batch
    for (const { callbacks, error } of settled) {
      for (const callback of callbacks) callback(error);
    }
  };

  /** Puts the batch into the file; its callbacks run later, in #flush, never inside an `append`. */
  #writeBatch(): void {
    let error: SallyportError | undefined;
    if (this.#lines !== '') {
      try {
        this.#put();
      } catch (cause) {
        error = this.#unavailable(cause);
      }
      this.#lines = '';
    }
    if (this.#callbacks.length > 0) {
      this.#settled.push({ callbacks: this.#callbacks, error });
      this.#callbacks = [];
    }
  }

  #put(): void {
    if (this.#torn) this.#cut();
    const end = HASH_LENGTH + this.#buffer.write(this.#lines, HASH_LENGTH, 'latin1');
    const next = {
      link: this.#head.link + 1,
      hash: hash('sha256', this.#buffer.subarray(0, end), 'hex'),
    };
    const size = end + this.#buffer.write(linkLine(next), end, 'latin1') - HASH_LENGTH;
    this.#torn = true;
    const written = writeSync(this.#fd, this.#buffer, HASH_LENGTH, size);
    if (written < size) throw new Error(`only ${written} of ${size} bytes were taken`);
    this.#torn = false;
    this.#length += size;
    this.#head = next;
    this.#buffer.write(next.hash, 0, 'latin1');
  }

  #unavailable(cause: unknown): SallyportError {
    let why = cause instanceof Error ? cause.message : String(cause);
    try {
      if (this.#torn) this.#cut();
    } catch (error) {
      why += `; ${error instanceof Error ? error.message : error}`; // still torn: the next batch cuts first
    }
    return new SallyportError(
      'journal_unavailable',
      `The audit journal ${this.fileName} cannot be written (${why}); nothing is forwarded until it can be: make room on its disk.`,
      { cause },
    );
  }

  #cut(): void {
    ftruncateSync(this.#fd, this.#length);
    this.#torn = false;
  }
}
