import { statSync } from 'node:fs';

/** A file that is being written is left alone until it has been the same for so long. */
const LOOK_EVERY_MS = 500;

/**
 * The PIN's file: a PIN that the token has refused is not tried again, by whichever keyholder, before the file is another.
 * It is not read here: another file, size or time of writing makes it another. Tokens lock after a few wrong PINs.
 */
export class PinWatch {
  readonly #path: string;
  readonly #changed: () => void;
  /** What the file was when each keyholder was given it. */
  readonly #given = new Map<string, string>();
  #refused: string | undefined;
  #seen = '';
  #timer: NodeJS.Timeout | undefined;

  /** `changed`: the file is another than the one that was of no use, and stays so. */
  constructor(path: string, changed: () => void) {
    this.#path = path;
    this.#changed = changed;
  }

  /** The keyholder `name` is about to be given the file. Returns false where what is in it was refused before. */
  give(name: string): boolean {
    const now = stampOf(this.#path);
    this.#given.set(name, now);
    return now !== this.#refused;
  }

  /** A keyholder that is gone. */
  forget(name: string): void {
    this.#given.delete(name);
  }

  /** What the keyholder `name` was given is of no use; `refused`: the token says so. From now on it is looked after. */
  problem(name: string, refused: boolean): void {
    const given = this.#given.get(name);
    if (given === undefined) return;
    if (refused) this.#refused = given;
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  /** The keyholders that have another file than the one that is there now. */
  outdated(): string[] {
    const now = stampOf(this.#path);
    return [...this.#given].filter(([, stamp]) => stamp !== now).map(([name]) => name);
  }

  #look(): void {
    const before = this.#seen;
    this.#seen = stampOf(this.#path);
    if (this.#seen !== before || this.outdated().length === 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#changed();
  }
}

function stampOf(path: string): string {
  const info = statSync(path, { bigint: true, throwIfNoEntry: false });
  return info ? [info.dev, info.ino, info.size, info.mtimeNs].join(' ') : 'none';
}
