import type { Buffer } from 'node:buffer';
import type { BodyReader } from '../http/message.ts';

/** What an agent sends once protocols are switched: every byte belongs to it, to the end of the connection. */
export class Unframed implements BodyReader {
  readonly ranges: readonly number[] = [];
  readonly trailerRanges: readonly number[] = [];
  readonly done = false;
  /** No body of a request, so that no limit of those applies. */
  readonly contentBytes = 0;

  read(chunk: Buffer): number {
    return chunk.length;
  }

  end(): void {}
}
