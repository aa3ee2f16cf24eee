/**
 * What verification finds. Problems:
 *
 * - `edited`: lines do not give the hash that their link states: one was changed, removed, added or moved within its
 *   batch, or the file was renamed.
 * - `unlinked`: a link's number is not the next one: whole batches, or a link line, were removed, added or moved.
 * - `malformed`: a line is no record, or one that this process's journal does not hold.
 * - `rewritten`: the chain holds, but the vault had recorded another one: the file was written anew.
 * - `truncated`: the file ends before a link that the vault had recorded.
 * - `missing`: the vault had recorded links of a file that is not there.
 * - `unsigned`: a checkpoint's signature, or the link it signs, is not right.
 *
 * Notes, which are no fault:
 *
 * - `torn`: lines after the last link: a batch that was being written, or was cut off by the death of its process. They
 *   do not count as written.
 * - `unvouched`: a worker's file of which the vault's journal knows nothing (it died before it could be told).
 * - `uncovered`: the vault's own links after its last checkpoint: whoever can write the file can cut or rewrite them.
 */
export type FindingKind =
  | 'edited'
  | 'unlinked'
  | 'malformed'
  | 'rewritten'
  | 'truncated'
  | 'missing'
  | 'unsigned'
  | 'torn'
  | 'unvouched'
  | 'uncovered';

export interface Finding {
  readonly file: string;
  /** Counted from 1; 0 where the whole file is meant. */
  readonly line: number;
  readonly kind: FindingKind;
  /** One sentence. */
  readonly message: string;
}

export interface Verification {
  readonly files: number;
  /** Records in whole batches. */
  readonly records: number;
  /** Empty: the journals are as they were written, as far as `notes` does not say otherwise. */
  readonly problems: readonly Finding[];
  readonly notes: readonly Finding[];
}

const NOTES: ReadonlySet<FindingKind> = new Set<FindingKind>(['torn', 'unvouched', 'uncovered']);

/** Most problems listed for one file: after these, one more says that there are others. */
const MOST_PER_FILE = 100;

/** Collects findings, bounded for each file. */
export class Findings {
  readonly problems: Finding[] = [];
  readonly notes: Finding[] = [];
  readonly #counts = new Map<string, number>();

  add(file: string, line: number, kind: FindingKind, message: string): void {
    if (NOTES.has(kind)) {
      this.notes.push({ file, line, kind, message });
      return;
    }
    const count = (this.#counts.get(file) ?? 0) + 1;
    this.#counts.set(file, count);
    if (count < MOST_PER_FILE) this.problems.push({ file, line, kind, message });
    if (count === MOST_PER_FILE) {
      this.problems.push({
        file,
        line,
        kind,
        message: `${message} Further problems of this file are not listed.`,
      });
    }
  }
}
