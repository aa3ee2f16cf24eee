import fs from 'node:fs';
import { SallyportError } from '../errors.ts';

/** How long a file is taken as unchanged before it is looked at again. */
const RECHECK_MS = 5000;
/** Lists of blocked names reach a few MiB; what is larger is a mistake. */
const MAX_BYTES = 16 * 1024 * 1024;

/**
 * What was parsed from a small configuration file, parsed again once the file has changed. Read synchronously, and
 * rarely: a stat takes microseconds, and the thread pool may be what an attacker has filled.
 */
export class WatchedFile<T> {
  readonly #path: string;
  readonly #parse: (text: string) => T;
  readonly #recheckMs: number;
  #value: T;
  #stamp = '';
  #checkedAt = Number.NEGATIVE_INFINITY;

  /** `empty` stands for a file that is not there. */
  constructor(path: string, empty: T, parse: (text: string) => T, recheckMs = RECHECK_MS) {
    this.#path = path;
    this.#value = empty;
    this.#parse = parse;
    this.#recheckMs = recheckMs;
  }

  /**
   * Throws `upstream_unresolved` where the file is there but cannot be read: names that it should pin would otherwise
   * go to DNS.
   */
  get(): T {
    const now = performance.now();
    if (now - this.#checkedAt < this.#recheckMs) return this.#value;
    try {
      const stat = fs.statSync(this.#path, { throwIfNoEntry: false });
      const stamp = stat ? `${stat.ino} ${stat.mtimeMs} ${stat.size}` : '';
      if (stamp !== this.#stamp) {
        if (stat && stat.size > MAX_BYTES) throw new RangeError(`it has more than ${MAX_BYTES} bytes`);
        this.#value = this.#parse(stat ? fs.readFileSync(this.#path, 'utf8') : '');
        this.#stamp = stamp;
      }
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new SallyportError(
        'upstream_unresolved',
        `The proxy cannot read ${this.#path} (${why}); whoever runs it must make it readable.`,
        { cause },
      );
    }
    this.#checkedAt = now;
    return this.#value;
  }
}
