import { join } from 'node:path';
import { type Batch, BatchReader } from './batches.ts';
import { chainStart, type Head, linkHash } from './chain.ts';
import type { JournalFile } from './files.ts';
import type { FindingKind, Findings } from './findings.ts';
import { parseLines } from './read.ts';
import type { JournalRecord } from './record.ts';

const WORKER_TYPES: ReadonlySet<string> = new Set(['request', 'outcome', 'scrub']);

/** A record of a batch, and where it stands. */
export interface PlacedRecord {
  readonly record: JournalRecord;
  readonly line: number;
}

/** Follows the chain of one journal, batch by batch, and reports where it is broken. */
export class ChainCheck {
  readonly file: JournalFile;
  readonly #batches: BatchReader;
  readonly #findings: Findings;
  #head: Head;
  #line = 0;
  #records = 0;

  constructor(folder: string, file: JournalFile, findings: Findings) {
    this.file = file;
    this.#batches = new BatchReader(join(folder, file.fileName));
    this.#findings = findings;
    this.#head = chainStart(file.fileName);
  }

  /** The newest link that was read, as the file states it. */
  get head(): Head {
    return this.#head;
  }

  /** The line of that link; 0 before the first. */
  get line(): number {
    return this.#line;
  }

  /** Records in the batches that were read. */
  get records(): number {
    return this.#records;
  }

  /** Checks the next batch and gives its records; undefined at the end of the file. */
  next(): readonly PlacedRecord[] | undefined {
    const batch = this.#batches.next();
    if (!batch) return undefined;
    this.#checkLink(batch);
    this.#head = batch.head; // from here on as stated: one broken batch is one problem
    this.#line = batch.linkLine;
    return this.#recordsOf(batch);
  }

  /** Reports what stands after the last link. */
  end(): void {
    while (this.next()); // what was written since
    const { line, bytes } = this.#batches.rest;
    if (bytes === 0) return;
    this.#report(
      line,
      'torn',
      `${bytes} bytes after the last link are a batch whose writing was not finished; they do not count as written.`,
    );
  }

  #checkLink(batch: Batch): void {
    const { firstLine, linkLine, head } = batch;
    const before = this.#head;
    if (head.link !== before.link + 1) {
      const after = before.link === 0 ? 'the beginning' : `link ${before.link}`;
      this.#report(
        linkLine,
        'unlinked',
        `Link ${head.link} follows ${after}: what stood between or here was removed, added or moved.`,
      );
    } else if (batch.oversize || linkHash(before.hash, batch.lines) !== head.hash) {
      const lines =
        linkLine - firstLine > 1 ? `One of lines ${firstLine} to ${linkLine}` : `Line ${firstLine}`;
      const renamed = head.link === 1 ? ', or the file was renamed' : '';
      this.#report(
        firstLine,
        'edited',
        `${lines} was changed, removed, added or moved after it was written${renamed}: the hash of link ${head.link} does not fit.`,
      );
    }
  }

  #recordsOf(batch: Batch): PlacedRecord[] {
    const records: PlacedRecord[] = [];
    let line = batch.firstLine;
    for (const record of parseLines(batch.lines)) {
      if (!record) {
        this.#report(line, 'malformed', 'This line is not a journal record.');
      } else if (WORKER_TYPES.has(record.type) === this.file.vault) {
        const owner = this.file.vault ? "the vault's" : "a worker's";
        this.#report(
          line,
          'malformed',
          `A record of type "${record.type}" has no place in ${owner} journal.`,
        );
      } else {
        records.push({ record, line });
      }
      line++;
    }
    this.#records += records.length;
    return records;
  }

  #report(line: number, kind: FindingKind, message: string): void {
    this.#findings.add(this.file.fileName, line, kind, message);
  }
}
