import { Buffer } from 'node:buffer';

const MAX_BYTES = 64 * 1024;
const MAX_CHUNKS = 64;

/** What an agent sends ahead of the answer: held up to a limit; then it is no longer read. */
export class HeldBytes {
  #bytes: Buffer | undefined;
  #chunks = 0;

  get any(): boolean {
    return this.#bytes !== undefined;
  }

  get full(): boolean {
    return (this.#bytes?.length ?? 0) > MAX_BYTES || this.#chunks > MAX_CHUNKS;
  }

  add(bytes: Buffer): void {
    this.#bytes = this.#bytes ? Buffer.concat([this.#bytes, bytes]) : bytes;
    this.#chunks++;
  }

  take(): Buffer | undefined {
    const bytes = this.#bytes;
    this.#bytes = undefined;
    this.#chunks = 0;
    return bytes;
  }
}
