import type { Buffer } from 'node:buffer';
import { SallyportError } from '../../errors.ts';
import { ChunkedBody } from './chunked.ts';
import { REQUEST_FAULTS, RESPONSE_FAULTS } from './faults.ts';
import { type BodyReader, badRequest, type Framing, type HeadLimits } from './message.ts';

/**
 * The reader for a body framed like that (RFC 9112, 6 and 7). `limits.headBytes` and `headFields` bound a chunked
 * body's trailer section. `refusedTrailers`: names besides the codec's own that may not stand there, such as the
 * field that a credential goes into; compared without case, "_" as "-".
 */
export function createBodyReader(
  framing: Framing,
  side: 'request' | 'response',
  limits: HeadLimits,
  refusedTrailers: readonly string[] = [],
): BodyReader {
  switch (framing.kind) {
    case 'none':
      return new CountedBody(0, side);
    case 'length':
      return new CountedBody(framing.length, side);
    case 'chunked':
      return new ChunkedBody(
        side === 'request' ? REQUEST_FAULTS : RESPONSE_FAULTS,
        limits,
        refusedTrailers,
        () => cutOff(side),
      );
    case 'close':
      return new BodyToClose();
  }
}

function cutOff(side: 'request' | 'response'): SallyportError {
  if (side === 'request') return badRequest('the connection ended before its body was complete');
  return new SallyportError(
    'upstream_closed',
    'The server closed the connection before its response was complete. Try again.',
  );
}

/** A body of a known number of bytes, none included. */
class CountedBody implements BodyReader {
  readonly ranges: number[] = [];
  readonly trailerRanges: readonly number[] = [];
  contentBytes = 0;
  readonly #length: number;
  readonly #side: 'request' | 'response';

  constructor(length: number, side: 'request' | 'response') {
    this.#length = length;
    this.#side = side;
  }

  get done(): boolean {
    return this.contentBytes === this.#length;
  }

  read(chunk: Buffer, offset: number): number {
    const end = Math.min(chunk.length, offset + this.#length - this.contentBytes);
    this.ranges.length = 0;
    if (end > offset) this.ranges.push(offset, end);
    this.contentBytes += end - offset;
    return end;
  }

  end(): void {
    if (!this.done) throw cutOff(this.#side);
  }
}

/** A response's body that lasts as long as its connection. */
class BodyToClose implements BodyReader {
  readonly ranges: number[] = [];
  readonly trailerRanges: readonly number[] = [];
  contentBytes = 0;
  done = false;

  read(chunk: Buffer, offset: number): number {
    this.ranges.length = 0;
    if (chunk.length > offset) this.ranges.push(offset, chunk.length);
    this.contentBytes += chunk.length - offset;
    return chunk.length;
  }

  end(): void {
    this.done = true;
  }
}
