import { createHash } from 'node:crypto';
import { SallyportError } from '../../errors.ts';
import type { BodyReader } from '../http/message.ts';

/** A body that is held until its hash is known, since that stands in the head: of one request, and of all together. */
const MOST_BYTES = 16 * 1024 * 1024;
const MOST_IN_ALL = 64 * 1024 * 1024;

let held = 0;

/** The body of a request whose signature covers it: read to its end before anything is sent. */
export class CollectedBody {
  readonly #hash = createHash('sha256');
  #pieces: Buffer[] = [];
  #bytes = 0;

  /** SHA-256 of the content in hex, once it is whole. */
  hash: string | undefined;

  /** Takes `bytes` as they came, which `reader` has just read of `chunk`. Throws content_too_large, rate_limited. */
  take(bytes: Buffer, chunk: Buffer, { ranges, done }: BodyReader): void {
    this.#hold(bytes);
    for (let i = 0; i < ranges.length; i += 2) this.#hash.update(chunk.subarray(ranges[i], ranges[i + 1]));
    if (done) this.hash = this.#hash.digest('hex');
  }

  #hold(bytes: Buffer): void {
    this.#bytes += bytes.length;
    held += bytes.length;
    if (this.#bytes > MOST_BYTES) {
      throw new SallyportError(
        'content_too_large',
        `The body is larger than the ${MOST_BYTES} bytes that can be signed: send its SHA-256 in X-Amz-Content-Sha256, so that it need not be held.`,
      );
    }
    if (held > MOST_IN_ALL) {
      throw new SallyportError(
        'rate_limited',
        'Too many bodies are being read to be signed: try again in a moment, or send X-Amz-Content-Sha256.',
      );
    }
    this.#pieces.push(Buffer.from(bytes));
  }

  /** The bytes to send, as they came; nothing of it is held any more. */
  release(): Buffer {
    const bytes = Buffer.concat(this.#pieces);
    this.drop();
    return bytes;
  }

  drop(): void {
    held -= this.#bytes;
    this.#bytes = 0;
    this.#pieces = [];
  }
}
