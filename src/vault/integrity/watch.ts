import { statSync } from 'node:fs';
import type { Store } from '../../store/open.ts';

/**
 * Finds out cheaply whether anybody else has touched the store: SQLite's data_version counts other connections'
 * commits, and the files' inode, size and change time (which no program can set) show what was written past SQLite.
 * Readers change none of these.
 */
export class StoreWatch {
  readonly #store: Store;
  /** The file that our own connection has open. */
  readonly #own: string;
  #version: unknown;
  #files: string;

  constructor(store: Store) {
    this.#store = store;
    this.#own = identity(store.path);
    this.#version = this.#readVersion();
    this.#files = this.#readFiles();
  }

  /** True where something else has written since the last `seen` (or, for files, `wrote`). */
  touched(): boolean {
    return this.#readVersion() !== this.#version || this.#readFiles() !== this.#files;
  }

  /**
   * Whether another file is in the place of ours. It must not be opened here: it would share the write-ahead log of ours and its
   * shared memory, whose locks SQLite gives up when one of two databases is closed in a process (POSIX, fcntl).
   */
  get replaced(): boolean {
    return identity(this.#store.path) !== this.#own;
  }

  /** Takes the files as they are now for our own writing. */
  wrote(): void {
    this.#files = this.#readFiles();
  }

  /** Takes everything as it is now for known: what is verified next is at least as new. */
  seen(): void {
    this.#version = this.#readVersion();
    this.#files = this.#readFiles();
  }

  #readVersion(): unknown {
    return this.#store.pragma('data_version');
  }

  #readFiles(): string {
    return ['', '-wal'].map((suffix) => stamp(`${this.#store.path}${suffix}`)).join(' ');
  }
}

function identity(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat ? `${stat.dev}:${stat.ino}` : 'absent';
}

function stamp(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat ? `${stat.dev}:${stat.ino}:${stat.size}:${stat.ctimeNs}` : 'absent';
}
