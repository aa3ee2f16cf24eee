import { statSync } from 'node:fs';

/** A file that is being written is left alone until it has been the same for so long. */
const LOOK_EVERY_MS = 500;

/** A file as it is at one time, unread: where the content is another, so is one of these. */
interface Stamp {
  /** Which file: the one at a path may be replaced. */
  readonly file: string;
  /** Size and time of writing. */
  readonly written: string;
}

/**
 * The PIN's file: a PIN that the token has refused is not tried again, by whichever keyholder, before the file is another,
 * for tokens lock after a few wrong ones. It is not read here.
 */
export class PinWatch {
  readonly #path: string;
  readonly #changed: () => void;
  /** What each keyholder has. */
  readonly #given = new Map<string, Stamp>();
  /** Those that could not use it, who say so again and again. */
  readonly #failed = new Set<string>();
  #refused: Stamp | undefined;
  #seen: Stamp;
  #timer: NodeJS.Timeout | undefined;

  /** `changed`: the file is another than the one that was of no use, and stays so. */
  constructor(path: string, changed: () => void) {
    this.#path = path;
    this.#changed = changed;
    this.#seen = stampOf(path);
  }

  /** The keyholder `name` is about to be given the file. Returns false where what is in it was refused before. */
  give(name: string): boolean {
    const now = stampOf(this.#path);
    this.#given.set(name, now);
    return !this.#refused || !same(now, this.#refused);
  }

  /** A keyholder that is gone. */
  forget(name: string): void {
    this.#given.delete(name);
    this.#failed.delete(name);
  }

  /** What the keyholder `name` has read is of no use; `refused`: the token says so, and that keyholder tries no more. */
  problem(name: string, refused: boolean): void {
    if (this.#failed.has(name)) return;
    if (refused) this.#failed.add(name);
    const now = stampOf(this.#path);
    // Whoever has that very file open reads what is in it now, whatever was when it was opened.
    for (const [each, given] of this.#given) if (given.file === now.file) this.#given.set(each, now);
    if (refused) this.#refused = this.#given.get(name) ?? this.#refused;
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  /** The keyholders that have another file than the one that is there now, or as it was before it was written. */
  outdated(): string[] {
    const now = stampOf(this.#path);
    return [...this.#given].filter(([, given]) => !same(given, now)).map(([name]) => name);
  }

  #look(): void {
    const before = this.#seen;
    this.#seen = stampOf(this.#path);
    if (!same(this.#seen, before) || this.outdated().length === 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#changed();
  }
}

function same(one: Stamp, other: Stamp): boolean {
  return one.file === other.file && one.written === other.written;
}

function stampOf(path: string): Stamp {
  const info = statSync(path, { bigint: true, throwIfNoEntry: false });
  return info
    ? { file: `${info.dev} ${info.ino}`, written: `${info.size} ${info.mtimeNs}` }
    : { file: 'none', written: '' };
}
