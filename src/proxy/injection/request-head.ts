import { allocateSecret } from '../../secret-buffer.ts';
import { foldedEquals, nameEquals } from '../http/field-name.ts';
import { badRequest, type RequestHead } from '../http/message.ts';
import type { CredentialFields } from './kind.ts';
import type { CompiledInjection } from './registry.ts';

export interface OutgoingHead {
  readonly head: RequestHead;
  /** The request-target to send: a range of `head.bytes`, or bytes of its own. */
  readonly target: { readonly start: number; readonly end: number } | Buffer;
  /** What the rule puts in; undefined for a request without a credential. */
  readonly injection: CompiledInjection | undefined;
  /** The leased fields to put in; not read without `injection`. */
  readonly fields: CredentialFields;
  /**
   * Ask for a body without content coding, which scrubbing can read: Accept-Encoding becomes `identity`, and no
   * extension of WebSocket is offered.
   */
  readonly identityOnly: boolean;
  /** Pass Upgrade on (with `Connection: Upgrade`); by default it is dropped. */
  readonly upgrade?: boolean;
  /** Host[:port], needed for an HTTP/1.0 request without a Host field (`head.host` is -1). */
  readonly authority?: string;
  /** Where to write the head if it fits, nobody else's until it is wiped. */
  readonly room?: Buffer;
}

/** Dropped whatever Connection says (RFC 9110, 7.6.1). Of TE, "trailers" is said anew. */
const HOP_BY_HOP: readonly string[] = ['connection', 'keep-alive', 'te', 'http2-settings'];
/** Never dropped on the word of Connection: without them the message would be another one. */
const KEPT: ReadonlySet<string> = new Set(['host', 'content-length', 'transfer-encoding', 'trailer']);

const VERSION = Buffer.from(' HTTP/1.1\r\n', 'latin1');
const IDENTITY = Buffer.from('identity', 'latin1');
const IDENTITY_LINE = Buffer.from('Accept-Encoding: identity\r\n', 'latin1');
const UPGRADE_LINE = Buffer.from('Connection: Upgrade\r\n', 'latin1');
const TRAILERS_LINES = Buffer.from('TE: trailers\r\nConnection: TE\r\n', 'latin1');

/** Start/end pairs of `head.bytes` to copy, for the call in hand: no call awaits. */
let ranges = new Uint32Array(64);
let rangeCount = 0;
/** Whether the agent understands trailers, of the call in hand. */
let takesTrailers = false;

/**
 * Builds the head that goes upstream: request line, the agent's fields in their order and bytes, then the injected
 * lines. Left out are the hop-by-hop fields and what Connection lists (first, so that `Connection: authorization`
 * cannot reach the injected field), and the agent's own fields of an injected name, however it spells them: exactly
 * one credential goes upstream. Always HTTP/1.1; framing fields stay as they were. The buffer is exactly full and
 * nobody else's: the caller wipes it once it is written. Throws `credential_missing`, `injection_unsupported`,
 * `bad_request` (no Host and no `authority`).
 */
export function writeRequestHead(request: OutgoingHead): { bytes: Buffer; length: number } {
  const { head, target, injection, fields, identityOnly, upgrade = false } = request;
  const injected = injection ? injection.length(fields) : 0;
  const identityAt = choose(head, injection?.names ?? [], identityOnly, upgrade);
  const host = head.host < 0 ? hostLine(request.authority) : undefined;
  const addIdentity = identityOnly && identityAt < 0;

  let length = head.method.length + 1 + VERSION.length + injected + 2;
  length += Buffer.isBuffer(target) ? target.length : target.end - target.start;
  for (let i = 0; i < rangeCount; i += 2) length += (ranges[i + 1] ?? 0) - (ranges[i] ?? 0);
  if (identityAt >= 0) length += IDENTITY.length;
  if (host) length += host.length;
  if (addIdentity) length += IDENTITY_LINE.length;
  const connection = upgrade ? UPGRADE_LINE : takesTrailers ? TRAILERS_LINES : undefined;
  if (connection) length += connection.length;

  const { room } = request;
  const out = room && room.length >= length ? room.subarray(0, length) : allocateSecret(length);
  let at = out.write(head.method, 0, 'latin1');
  out[at++] = 0x20;
  at += Buffer.isBuffer(target) ? target.copy(out, at) : head.bytes.copy(out, at, target.start, target.end);
  at += VERSION.copy(out, at);
  if (host) at += host.copy(out, at);
  for (let i = 0; i < rangeCount; i += 2) {
    if (i === identityAt) at += IDENTITY.copy(out, at);
    at += head.bytes.copy(out, at, ranges[i], ranges[i + 1]);
  }
  if (addIdentity) at += IDENTITY_LINE.copy(out, at);
  if (connection) at += connection.copy(out, at);
  if (injection) at = injection.write(out, at, fields);
  out[at] = 0x0d;
  out[at + 1] = 0x0a;
  return { bytes: out, length };
}

function hostLine(authority: string | undefined): Buffer {
  if (authority === undefined) throw badRequest('it names no host');
  return Buffer.from(`Host: ${authority}\r\n`, 'latin1');
}

/**
 * Fills `ranges` with the field lines to copy, neighbours joined. Returns the index in `ranges` before which the
 * value `identity` is to be written, -1 where the agent sent no Accept-Encoding or keeps its own.
 */
function choose(
  head: RequestHead,
  injected: readonly string[],
  identityOnly: boolean,
  upgrade: boolean,
): number {
  const { bytes, fields } = head;
  const { offsets, count } = fields;
  let identityAt = -1;
  rangeCount = 0;
  takesTrailers = false;
  for (let i = 0; i < count; i++) {
    const start = offsets[4 * i] ?? 0;
    const nameEnd = offsets[4 * i + 1] ?? 0;
    const end = i + 1 < count ? (offsets[4 * i + 4] ?? 0) : bytes.length - 2;
    if (nameEnd - start === 2 && nameEquals(bytes, start, nameEnd, 'te')) {
      takesTrailers ||= listsTrailers(bytes, offsets[4 * i + 2] ?? 0, offsets[4 * i + 3] ?? 0);
    }
    if (isDropped(bytes, start, nameEnd, head.connection, injected, upgrade)) continue;
    // Frames of an extension, such as compressed ones, could not be searched. None offered, none is agreed to.
    if (upgrade && identityOnly && foldedEquals(bytes, start, nameEnd, 'sec-websocket-extensions')) continue;
    // RFC 9110, 10.1.1: an expectation of HTTP/1.0 is ignored. Passed on in our HTTP/1.1 it would not be.
    if (head.minor === 0 && nameEquals(bytes, start, nameEnd, 'expect')) continue;
    if (identityOnly && foldedEquals(bytes, start, nameEnd, 'accept-encoding')) {
      if (identityAt >= 0) continue;
      keep(start, offsets[4 * i + 2] ?? 0, -1);
      identityAt = rangeCount;
      keep(offsets[4 * i + 3] ?? 0, end, identityAt);
    } else {
      keep(start, end, identityAt);
    }
  }
  return identityAt;
}

/** Whether "trailers" is a member of the list (RFC 9110, 10.1.4). */
function listsTrailers(bytes: Buffer, start: number, end: number): boolean {
  const list = bytes.toString('latin1', start, end).toLowerCase().split(',');
  return list.some((member) => member.trim() === 'trailers');
}

/** `split`: the index of a range that must begin on its own, although it follows on the one before. */
function keep(start: number, end: number, split: number): void {
  if (rangeCount > 0 && rangeCount !== split && ranges[rangeCount - 1] === start) {
    ranges[rangeCount - 1] = end;
    return;
  }
  if (rangeCount === ranges.length) {
    const larger = new Uint32Array(ranges.length * 2);
    larger.set(ranges);
    ranges = larger;
  }
  ranges[rangeCount++] = start;
  ranges[rangeCount++] = end;
}

function isDropped(
  bytes: Buffer,
  start: number,
  end: number,
  listed: readonly string[],
  injected: readonly string[],
  upgrade: boolean,
): boolean {
  for (const name of HOP_BY_HOP) if (foldedEquals(bytes, start, end, name)) return true;
  if (end - start > 6 && foldedEquals(bytes, start, start + 6, 'proxy-')) return true;
  if (foldedEquals(bytes, start, end, 'upgrade')) return !upgrade;
  for (const name of listed) if (foldedEquals(bytes, start, end, name) && !KEPT.has(name)) return true;
  for (const name of injected) if (foldedEquals(bytes, start, end, name)) return true;
  return false;
}
