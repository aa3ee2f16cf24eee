import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { BatchReader } from './batches.ts';
import type { JournalFile } from './files.ts';
import { JournalRecord } from './record.ts';

/** Told of a journal with a line that is no record: what it holds is passed over, `audit verify` says where it is. */
export type OnDamage = (file: JournalFile) => void;

/** The records of one journal, in the file's order; only whole batches count. */
export class JournalReader {
  readonly file: JournalFile;
  readonly #batches: BatchReader;
  readonly #onDamage: OnDamage;
  #records: JournalRecord[] = [];
  #at = 0;

  /** Reads the journal `file` in `folder`, from the first batch that begins after byte `offset`. */
  constructor(folder: string, file: JournalFile, onDamage: OnDamage, offset = 0) {
    this.file = file;
    this.#batches = new BatchReader(join(folder, file.fileName), offset);
    this.#onDamage = onDamage;
  }

  /** Whether reading has found the beginning of a batch (see BatchReader). */
  get aligned(): boolean {
    return this.#batches.aligned;
  }

  /** The record that `take` would give; undefined at the end of the file, which may grow. */
  peek(): JournalRecord | undefined {
    while (this.#at === this.#records.length) {
      const batch = this.#batches.next();
      if (!batch) return undefined;
      this.#at = 0;
      this.#records = [];
      let damaged = batch.oversize;
      for (const record of parseLines(batch.lines)) {
        if (record) this.#records.push(record);
        else damaged = true;
      }
      if (damaged) this.#onDamage(this.file);
    }
    return this.#records[this.#at];
  }

  take(): JournalRecord | undefined {
    const record = this.peek();
    if (record) this.#at++;
    return record;
  }
}

/** The records in a batch's `lines`, in order; undefined for a line that is none. */
export function* parseLines(lines: Buffer): Generator<JournalRecord | undefined> {
  let start = 0;
  while (start < lines.length) {
    const newline = lines.indexOf(0x0a, start);
    const end = newline < 0 ? lines.length : newline;
    yield parseRecord(lines.toString('latin1', start, end));
    start = end + 1;
  }
}

function parseRecord(line: string): JournalRecord | undefined {
  try {
    return JournalRecord.parse(JSON.parse(line));
  } catch {
    return undefined; // not a record: the caller says so
  }
}

/** Records between two turns of the event loop, so that whoever reads a long journal still answers. */
const STRIDE = 4096;

/**
 * The records of many journals in the order of their times, until each is at its end. A journal is opened only when
 * the times have come to its start, so that years of journals are read in the memory of those that ran together.
 */
export async function* mergeByTime(
  readers: Iterable<JournalReader>,
): AsyncGenerator<{ readonly file: JournalFile; readonly record: JournalRecord }> {
  const waiting = [...readers].sort((a, b) => (a.file.start < b.file.start ? 1 : -1)); // the oldest last
  let open: JournalReader[] = [];
  for (let count = 1; ; count++) {
    let first: JournalReader | undefined;
    let time = '';
    let ended = false;
    for (const reader of open) {
      const next = reader.peek();
      if (!next) ended = true;
      else if (!first || next.time < time) {
        first = reader;
        time = next.time;
      }
    }
    if (ended) open = open.filter((reader) => reader.peek());
    const candidate = waiting.at(-1);
    if (candidate && (!first || candidate.file.start <= time)) {
      waiting.pop();
      open.push(candidate);
      continue;
    }
    const record = first?.take();
    if (!first || !record) return;
    yield { file: first.file, record };
    if (count % STRIDE === 0) await setImmediate();
  }
}
