import type { Buffer } from 'node:buffer';
import { RESPONSE_FAULTS, upstreamInvalid } from './faults.ts';
import { nameEquals } from './field-name.ts';
import type { FieldScanner } from './field-scanner.ts';
import { HeadScanner } from './head-scanner.ts';
import type { Framing, HeadLimits, HeadReader, ResponseHead } from './message.ts';
import { MessageFields } from './message-fields.ts';
import { StatusLine } from './status-line.ts';

const NO_BODY: Framing = { kind: 'none' };
const CHUNKED: Framing = { kind: 'chunked' };
const TO_CLOSE: Framing = { kind: 'close' };

/**
 * Reads a server's response heads (RFC 9112), as strictly as requests: every fault is `upstream_invalid`. Say with
 * `expect` what was asked before reading the answer: how it is framed depends on that. A 1xx head is returned like
 * any other, without a body; the final one follows it.
 */
export class ResponseReader implements HeadReader<ResponseHead> {
  readonly #line = new StatusLine();
  readonly #scanner: HeadScanner<ResponseHead>;
  readonly #shared = new MessageFields(RESPONSE_FAULTS);
  #method = 'GET';

  /** `limits.targetBytes` does not apply. */
  constructor(limits: HeadLimits) {
    this.#scanner = new HeadScanner(this.#line, limits, RESPONSE_FAULTS, false, (bytes, fields) =>
      this.#understand(bytes, fields),
    );
  }

  /** The method of the request that the next heads answer; it stays until it is said again. */
  expect(method: string): void {
    this.#method = method;
  }

  /** The head that `read` found. Throws `internal` when there is none. */
  get head(): ResponseHead {
    return this.#scanner.head;
  }

  read(chunk: Buffer, offset: number): number {
    return this.#scanner.read(chunk, offset);
  }

  reset(): void {
    this.#scanner.reset();
  }

  #understand(bytes: Buffer, { offsets, count }: FieldScanner): ResponseHead {
    const { status, minor } = this.#line;
    const shared = this.#shared;
    shared.reset();
    let identityCoding = true;
    for (let i = 0; i < count; i++) {
      const at = 4 * i;
      const nameStart = offsets[at] ?? 0;
      const nameEnd = offsets[at + 1] ?? 0;
      const valueStart = offsets[at + 2] ?? 0;
      const valueEnd = offsets[at + 3] ?? 0;
      if (nameEnd - nameStart === 16 && nameEquals(bytes, nameStart, nameEnd, 'content-encoding')) {
        if (valueEnd > valueStart && !nameEquals(bytes, valueStart, valueEnd, 'identity'))
          identityCoding = false;
      } else {
        shared.take(bytes, nameStart, nameEnd, valueStart, valueEnd);
      }
    }
    shared.check(minor);
    const framing = responseFraming(this.#method, status, shared);
    return {
      bytes,
      fields: { bytes, count, offsets },
      status,
      minor,
      framing,
      connection: shared.connection,
      persistent: framing.kind !== 'close' && !isDoubtful(status, shared) && shared.persistent(minor),
      identityCoding,
    };
  }
}

/** RFC 9112, 6.3. A 101 and a 2xx to CONNECT begin another protocol: what follows is not this message's. */
function responseFraming(method: string, status: number, { chunked, contentLength }: MessageFields): Framing {
  // RFC 9110, 8.6 and RFC 9112, 6.1 forbid it; some recipients would read a body there, and none says so honestly.
  if (status < 200 && (chunked || contentLength > 0)) throw upstreamInvalid('it is a 1xx with content');
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return NO_BODY;
  if (method === 'CONNECT' && status < 300) return NO_BODY;
  if (status === 205) {
    if (contentLength > 0) throw upstreamInvalid('it is a 205 with content');
    if (!chunked && contentLength === -1) return NO_BODY;
  }
  if (chunked) return CHUNKED;
  return contentLength === -1 ? TO_CLOSE : { kind: 'length', length: contentLength };
}

/**
 * Where recipients disagree on whether content follows: a 204 that is said to be chunked, a 205 without a length
 * (none by RFC 9110, 15.3.6, up to the close by RFC 9112, 6.3). Its connection is closed after it, which suits both.
 */
function isDoubtful(status: number, { chunked, contentLength }: MessageFields): boolean {
  return status === 204 ? chunked : status === 205 && !chunked && contentLength === -1;
}
