import { Buffer } from 'node:buffer';
import { nameEquals } from '../http/field-name.ts';
import type { ResponseHead } from '../http/message.ts';

/**
 * Fields of an answer that concern the upstream connection alone (RFC 9110, 7.6.1), and Alt-Svc, which would lead the
 * agent past the proxy. Trailer and Transfer-Encoding stay: the framing is passed on as it is.
 */
const DROPPED = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authentication-info',
  'upgrade',
  'alt-svc',
];
const CLOSE = Buffer.from('Connection: close\r\n\r\n', 'latin1');

/**
 * Takes the fields that are not passed on out of `head.bytes`, in place, by moving what stays towards its end; returns
 * the offset at which the head now starts. So a body that follows in the same chunk still follows. `unchunked`: the
 * body's chunked framing is taken off, so its field goes too.
 */
export function strip(head: ResponseHead, unchunked = false): number {
  const { bytes, fields, connection } = head;
  const decoded = unchunked || head.status === 204; // RFC 9112, 6.1: a 204 has no Transfer-Encoding
  bytes[7] = 0x31; // HTTP/1.1 whatever the server speaks: a proxy states its own version (RFC 9110, 2.5)
  let end = bytes.length; // of what is still to be moved
  let to = bytes.length; // where it goes
  for (let i = fields.count - 1; i >= 0; i--) {
    const start = fields.offsets[4 * i] ?? 0;
    const nameEnd = fields.offsets[4 * i + 1] ?? 0;
    if (!isDropped(bytes, start, nameEnd, connection, decoded)) continue;
    const lineEnd = i + 1 < fields.count ? (fields.offsets[4 * i + 4] ?? 0) : bytes.length - 2;
    to -= end - lineEnd;
    if (to !== lineEnd) bytes.copyWithin(to, lineEnd, end);
    end = start;
  }
  if (to !== bytes.length) bytes.copyWithin(to - end, 0, end);
  return to - end;
}

function isDropped(
  bytes: Buffer,
  start: number,
  end: number,
  connection: readonly string[],
  decoded: boolean,
): boolean {
  const length = end - start;
  for (const name of DROPPED) if (name.length === length && nameEquals(bytes, start, end, name)) return true;
  if (decoded && nameEquals(bytes, start, end, 'transfer-encoding')) return true;
  for (const name of connection) {
    if (name.length === length && name !== 'transfer-encoding' && nameEquals(bytes, start, end, name)) {
      return name !== 'content-length' && name !== 'trailer';
    }
  }
  return false;
}

/** The head, copied, with `Connection: close` as its last field. */
export function withClose(head: Buffer): Buffer {
  const out = Buffer.allocUnsafeSlow(head.length - 2 + CLOSE.length);
  head.copy(out, 0, 0, head.length - 2);
  CLOSE.copy(out, head.length - 2);
  return out;
}
