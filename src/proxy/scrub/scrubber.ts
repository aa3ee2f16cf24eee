import { SallyportError } from '../../errors.ts';
import { allocateSecret, copySecret } from '../../secret-buffer.ts';
import { overwriteInHead } from './head.ts';
import { findOccurrences, type Run, unfinished } from './occurrences.ts';

/** Shorter secrets are not searched for: overwriting them would destroy ordinary text. SECURITY.md says so. */
export const SHORTEST_SEARCHED = 6;
/** A tail of the content is held back once this many bytes of it match: fewer could be guessed one by one by timing. */
const HELD_FROM = 12;
/** What may be held: room for trailers or a chunk's extension, and for one-byte chunks all through a secret. */
const HELD_FRAMING = 64 * 1024;
const HELD_PER_BYTE = 16;
const ASTERISK = 0x2a;

export type Where = 'head' | 'body' | 'trailer';

/** Content into which `content` was gathered, for the call in hand; wiped before it returns. */
let gathered = allocateSecret(64 * 1024);

/**
 * Overwrites raw occurrences of secrets in one response with asterisks: lengths and framing stay. The secrets are
 * leased views, read in place: keep the lease until `destroy`. An occurrence counts each time it is found, and only
 * once; `onHit` hears of each call that found some.
 */
export class Scrubber {
  readonly #secrets: readonly Buffer[];
  readonly #longest: number;
  readonly #onHit: (where: Where, count: number) => void;
  /** The end of the content so far that begins a secret: `#begun` bytes of `#candidate`. */
  #candidate: Buffer | undefined;
  #begun = 0;
  /** Raw bytes not yet forwarded, our own, and their content ranges, which hold the last `#heldContent` bytes. */
  #held: Buffer | undefined;
  #heldRanges: readonly number[] = [];
  #heldContent = 0;

  constructor(secrets: readonly Buffer[], onHit: (where: Where, count: number) => void) {
    this.#secrets = secrets.filter(
      (secret, index) =>
        secret.length >= SHORTEST_SEARCHED && secrets.findIndex((other) => other.equals(secret)) === index,
    );
    this.#longest = this.#secrets.reduce((most, { length }) => Math.max(most, length), 0);
    this.#onHit = onHit;
  }

  /** Scrubs a whole head, or trailer field lines, in place; returns the occurrences found. */
  scrubHead(bytes: Buffer, where: Where = 'head'): number {
    const { count, runs } = findOccurrences(bytes, this.#secrets);
    if (count > 0) {
      overwriteInHead(bytes, runs);
      this.#onHit(where, count);
    }
    return count;
  }

  /**
   * Scrubs the next raw bytes of the body in place. `ranges`: start/end pairs of its content within `raw`, in order
   * (`BodyReader.ranges`; trailer ranges may be among them). `last`: nothing follows. Returns what to forward now, in
   * order: pieces of `raw` and buffers of our own. The caller wipes each piece once it is written; what of `raw` is
   * not returned has been wiped. Where the content's end matches 12 bytes or more of a secret, it is held back until
   * the next call decides. Throws `upstream_invalid` where a body would have us hold back without bound.
   */
  feed(raw: Buffer, ranges: readonly number[], last: boolean): Buffer[] {
    if (this.#secrets.length === 0 || (ranges.length === 0 && !this.#held))
      return raw.length > 0 ? [raw] : [];
    const [bytes, all] = this.#held ? this.#joinHeld(this.#held, raw, ranges) : [raw, ranges];
    const split = this.#scrub(bytes, all);
    if (last || split >= bytes.length) {
      this.#heldContent = 0;
      return bytes.length > 0 ? [bytes] : [];
    }
    this.#hold(bytes, all, split);
    return split > 0 ? [bytes.subarray(0, split)] : [];
  }

  /** Wipes what is held back: for a response that ends before its body does. */
  destroy(): void {
    this.#held?.fill(0);
    this.#held = undefined;
    this.#heldRanges = [];
    this.#heldContent = 0;
    this.#candidate = undefined;
    this.#begun = 0;
  }

  /** Overwrites in `bytes`; returns the offset from which its bytes are to be held back. */
  #scrub(bytes: Buffer, ranges: readonly number[]): number {
    const alone = this.#begun === 0 && ranges.length === 2;
    const before = this.#begun;
    const content = alone ? bytes.subarray(ranges[0], ranges[1]) : this.#gather(bytes, ranges);
    try {
      const { count, runs } = findOccurrences(content, this.#secrets, before);
      const tail = unfinished(content, this.#secrets);
      this.#candidate = tail?.secret;
      this.#begun = tail?.length ?? 0;
      // Offset of the content's first byte that lies in `bytes`: what came before it is on its way.
      const forwarded = alone ? 0 : before - this.#heldContent;
      if (count > 0) {
        overwriteContent(bytes, ranges, forwarded, runs);
        this.#onHit('body', count);
      }
      if (this.#begun < HELD_FROM) return bytes.length;
      return locate(ranges, Math.max(0, content.length - this.#begun - forwarded));
    } finally {
      if (!alone) content.fill(0);
    }
  }

  /**
   * The secret's beginning that was seen already, then the content of the ranges that follows on it, in one run. What
   * is held may have been overwritten, so that its content is taken from the secret that it began.
   */
  #gather(bytes: Buffer, ranges: readonly number[]): Buffer {
    let length = this.#begun - this.#heldContent;
    for (let i = 0; i < ranges.length; i += 2) length += (ranges[i + 1] ?? 0) - (ranges[i] ?? 0);
    if (gathered.length < length) gathered = allocateSecret(length);
    let at = this.#candidate ? this.#candidate.copy(gathered, 0, 0, this.#begun) : 0;
    let skip = this.#heldContent;
    for (let i = 0; i < ranges.length; i += 2) {
      const start = ranges[i] ?? 0;
      const end = ranges[i + 1] ?? 0;
      const skipped = Math.min(skip, end - start);
      skip -= skipped;
      at += bytes.copy(gathered, at, start + skipped, end);
    }
    return gathered.subarray(0, at);
  }

  #joinHeld(held: Buffer, raw: Buffer, ranges: readonly number[]): [Buffer, readonly number[]] {
    const bytes = allocateSecret(held.length + raw.length);
    held.copy(bytes, 0);
    raw.copy(bytes, held.length);
    const all = [...this.#heldRanges, ...ranges.map((offset) => offset + held.length)];
    held.fill(0);
    raw.fill(0);
    this.#held = undefined;
    this.#heldRanges = [];
    return [bytes, all];
  }

  /** Takes `bytes` from `split` on into a buffer of our own, and wipes them there. */
  #hold(bytes: Buffer, ranges: readonly number[], split: number): void {
    const rest = bytes.subarray(split);
    if (rest.length > HELD_FRAMING + HELD_PER_BYTE * this.#longest) {
      bytes.fill(0);
      this.destroy();
      throw new SallyportError(
        'upstream_invalid',
        'The response was cut: it is framed so that it could not be searched for the credential.',
      );
    }
    this.#held = copySecret(rest);
    rest.fill(0);
    const kept: number[] = [];
    this.#heldContent = 0;
    for (let i = 0; i < ranges.length; i += 2) {
      const start = Math.max(split, ranges[i] ?? 0);
      const end = ranges[i + 1] ?? 0;
      if (start >= end) continue;
      kept.push(start - split, end - split);
      this.#heldContent += end - start;
    }
    this.#heldRanges = kept;
  }
}

/** Overwrites the runs, given as offsets into the content, whose offset `first` is the first byte of the ranges. */
function overwriteContent(
  bytes: Buffer,
  ranges: readonly number[],
  first: number,
  runs: readonly Run[],
): void {
  let next = 0;
  let at = first;
  for (let i = 0; i < ranges.length && next < runs.length; i += 2) {
    const start = ranges[i] ?? 0;
    const end = at + (ranges[i + 1] ?? 0) - start;
    for (let run = runs[next]; run && run[0] < end; run = runs[next]) {
      const from = Math.max(run[0], at);
      if (from < run[1]) bytes.fill(ASTERISK, start + from - at, start + Math.min(run[1], end) - at);
      if (run[1] > end) break;
      next++;
    }
    at = end;
  }
}

/** Offset in the raw bytes of the content byte number `index` of the ranges. */
function locate(ranges: readonly number[], index: number): number {
  let left = index;
  for (let i = 0; i < ranges.length; i += 2) {
    const start = ranges[i] ?? 0;
    const length = (ranges[i + 1] ?? 0) - start;
    if (left < length) return start + left;
    left -= length;
  }
  throw new RangeError('the content has no such byte');
}
