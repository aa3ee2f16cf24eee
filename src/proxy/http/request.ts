import type { Buffer } from 'node:buffer';
import { SallyportError } from '../../errors.ts';
import { REQUEST_FAULTS } from './faults.ts';
import { nameEquals } from './field-name.ts';
import type { FieldScanner } from './field-scanner.ts';
import { HeadScanner } from './head-scanner.ts';
import { badRequest, type Framing, type HeadLimits, type HeadReader, type RequestHead } from './message.ts';
import { MessageFields } from './message-fields.ts';
import { RequestLine } from './request-line.ts';
import { type AbsoluteTarget, checkHost, checkTarget, parseHost } from './target.ts';

const NO_BODY: Framing = { kind: 'none' };
const CHUNKED: Framing = { kind: 'chunked' };
const COMMON_METHODS = ['GET', 'POST', 'PUT', 'HEAD', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE'];

/**
 * Reads an agent's request heads (RFC 9112). Strict: what two parsers could read in two ways is refused, as is every
 * form that this proxy need not understand. One reader serves a connection; it keeps its tables between heads.
 */
export class RequestReader implements HeadReader<RequestHead> {
  readonly #line: RequestLine;
  readonly #scanner: HeadScanner<RequestHead>;
  readonly #shared = new MessageFields(REQUEST_FAULTS);

  constructor(limits: HeadLimits) {
    this.#line = new RequestLine(limits.targetBytes);
    this.#scanner = new HeadScanner(this.#line, limits, REQUEST_FAULTS, true, (bytes, fields) =>
      this.#understand(bytes, fields),
    );
  }

  /** The head that `read` found. Throws `internal` when there is none. */
  get head(): RequestHead {
    return this.#scanner.head;
  }

  /**
   * See `HeadReader`. One empty line before the request-line is skipped (RFC 9112, 2.2). Throws also
   * `expectation_failed` for an Expect other than 100-continue, `misdirected_request` where an absolute-form and Host
   * name two hosts or ports.
   */
  read(chunk: Buffer, offset: number): number {
    return this.#scanner.read(chunk, offset);
  }

  reset(): void {
    this.#scanner.reset();
  }

  #understand(bytes: Buffer, { offsets, count }: FieldScanner): RequestHead {
    const line = this.#line;
    const shared = this.#shared;
    shared.reset();
    let host = -1;
    let expectContinue = false;
    for (let i = 0; i < count; i++) {
      const at = 4 * i;
      const nameStart = offsets[at] ?? 0;
      const nameEnd = offsets[at + 1] ?? 0;
      const valueStart = offsets[at + 2] ?? 0;
      const valueEnd = offsets[at + 3] ?? 0;
      const length = nameEnd - nameStart;
      if (length === 4 && nameEquals(bytes, nameStart, nameEnd, 'host')) {
        if (host !== -1) throw badRequest('it has more than one Host');
        checkHost(bytes, valueStart, valueEnd);
        host = i;
      } else if (length === 6 && nameEquals(bytes, nameStart, nameEnd, 'expect')) {
        checkExpectation(bytes, valueStart, valueEnd);
        expectContinue = line.minor === 1; // RFC 9110, 10.1.1: ignored in HTTP/1.0
      } else {
        shared.take(bytes, nameStart, nameEnd, valueStart, valueEnd);
      }
    }
    const minor = line.minor;
    shared.check(minor);
    if (host === -1 && minor === 1) throw badRequest('it has no Host');
    const method = methodText(bytes, line.methodEnd);
    const absolute = checkTarget(method, bytes, line.targetStart, line.targetEnd);
    if (absolute && host !== -1) checkAgreement(absolute, bytes, offsets, host);
    return {
      bytes,
      fields: { bytes, count, offsets },
      method,
      targetStart: line.targetStart,
      targetEnd: line.targetEnd,
      minor,
      framing: requestFraming(method, shared),
      host,
      connection: shared.connection,
      persistent: shared.persistent(minor),
      expectContinue,
    };
  }
}

/** RFC 9112, 6.3. A CONNECT has no content (RFC 9110, 9.3.6): one that announces some could hide a second request. */
function requestFraming(method: string, { chunked, contentLength }: MessageFields): Framing {
  if (method === 'CONNECT') {
    if (chunked || contentLength > 0) throw badRequest('it is a CONNECT with a body');
    return NO_BODY;
  }
  if (chunked) return CHUNKED;
  return contentLength === -1 ? NO_BODY : { kind: 'length', length: contentLength };
}

/** RFC 9112, 3.2.2 has a proxy ignore the Host beside an absolute-form; where the two differ, some server will not. */
function checkAgreement(target: AbsoluteTarget, bytes: Buffer, offsets: Uint32Array, host: number): void {
  const defaultPort = target.scheme === 'http' ? 80 : 443;
  const named = parseHost(bytes, offsets[4 * host + 2] ?? 0, offsets[4 * host + 3] ?? 0, defaultPort);
  if (named.host === target.host && named.port === target.port) return;
  throw new SallyportError(
    'misdirected_request',
    'The request was refused because its Host differs from the host of its URL. Send the same host and port in both.',
  );
}

function methodText(bytes: Buffer, end: number): string {
  for (const method of COMMON_METHODS) {
    if (method.length === end && startsWith(bytes, method)) return method;
  }
  return bytes.toString('latin1', 0, end);
}

function startsWith(bytes: Buffer, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (bytes[i] !== text.charCodeAt(i)) return false;
  }
  return true;
}

function checkExpectation(bytes: Buffer, start: number, end: number): void {
  if (nameEquals(bytes, start, end, '100-continue')) return;
  throw new SallyportError(
    'expectation_failed',
    'The request was refused because it expects something other than 100-continue. Leave the Expect field out.',
  );
}
