import type { Buffer } from 'node:buffer';
import { SallyportError } from '../../errors.ts';

/**
 * The vocabulary of the HTTP/1.1 codec (RFC 9110, 9112). The codec does no I/O: bytes in, offsets out. Heads stay
 * bytes: a field is four offsets, so that no value, above all no credential, becomes a string on the way.
 */

/** How a message's body is delimited (RFC 9112, 6.3). `close`: responses only, to the end of the connection. */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'close' };

/**
 * Field lines in wire order, duplicates kept. For field `i`, `offsets[4 * i .. 4 * i + 3]` are: start and end of the
 * name, start and end of the value without surrounding white space, as offsets into `bytes`. A field's line starts at
 * its name and ends with the CRLF after its value.
 */
export interface FieldLines {
  readonly bytes: Buffer;
  readonly count: number;
  readonly offsets: Uint32Array;
}

export interface RequestHead {
  /** The whole head, start line to the empty line's CRLF. Valid until the reader is fed again. */
  readonly bytes: Buffer;
  readonly fields: FieldLines;
  readonly method: string;
  /** The request-target within `bytes`. */
  readonly targetStart: number;
  readonly targetEnd: number;
  readonly minor: 0 | 1;
  readonly framing: Framing;
  /** Index of the one Host field, -1 in HTTP/1.0 without one. */
  readonly host: number;
  /** Lower-case names that Connection lists, `close` and `keep-alive` among them. */
  readonly connection: readonly string[];
  /** Whether the connection outlives this exchange as far as the sender is concerned (RFC 9112, 9.3). */
  readonly persistent: boolean;
  readonly expectContinue: boolean;
}

export interface ResponseHead {
  readonly bytes: Buffer;
  readonly fields: FieldLines;
  readonly status: number;
  readonly minor: 0 | 1;
  readonly framing: Framing;
  readonly connection: readonly string[];
  readonly persistent: boolean;
  /** False where the body carries a Content-Encoding other than identity. */
  readonly identityCoding: boolean;
}

export interface HeadLimits {
  readonly headBytes: number;
  readonly headFields: number;
  readonly targetBytes: number;
}

/**
 * Reads one head from a stream that may be cut anywhere. `read` takes bytes from `offset` and returns the offset
 * after the head once it is whole (`head` is then set), or -1 when it took everything and needs more. Cost is linear
 * in the bytes whatever the cuts. Throws SallyportError: bad_request, head_too_large, uri_too_long,
 * coding_not_supported, version_not_supported, method_not_supported; for a response upstream_invalid.
 * Where the head lies whole within `chunk`, `head.bytes` is a view of it: no copy.
 */
export interface HeadReader<H> {
  read(chunk: Buffer, offset: number): number;
  readonly head: H;
  /** Forgets the last head and wipes what was accumulated: the next `read` begins a new message. */
  reset(): void;
}

/**
 * Walks a body without copying it. `read` looks at `chunk` from `offset` and returns the offset after the last byte
 * that belongs to this message (chunk framing and trailers included). `ranges` then lists, as start/end pairs within
 * this chunk, the bytes that are content (not framing): what scrubbing looks through; `trailerRanges` likewise the
 * trailer section's field lines. `done` is set with the message's last byte. Throws bad_request (upstream_invalid for
 * a response) on malformed framing; bytes before the fault have been vouched for.
 */
export interface BodyReader {
  read(chunk: Buffer, offset: number): number;
  readonly done: boolean;
  readonly ranges: readonly number[];
  readonly trailerRanges: readonly number[];
  /** Content bytes so far. */
  readonly contentBytes: number;
  /** Tells a close-delimited body that its connection ended; throws upstream_closed for any other unfinished body. */
  end(): void;
}

export function badRequest(what: string): SallyportError {
  return new SallyportError(
    'bad_request',
    `The request was refused because ${what}. Send it again well-formed.`,
  );
}
