import type { RequestHead } from '../http/message.ts';

/** Of the connection, or said in another way (RFC 9113, 8.2.2 and 8.3.1). */
const DROPPED = new Set([
  'host',
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

/** A request of HTTP/1.1 as the fields of HTTP/2: names in lower case and values by turns, in order. */
export function requestFields({
  bytes,
  fields,
  host,
  method,
  targetStart,
  targetEnd,
}: RequestHead): string[] {
  const { count, offsets } = fields;
  const authority = bytes.toString('latin1', offsets[4 * host + 2], offsets[4 * host + 3]);
  const path = bytes.toString('latin1', targetStart, targetEnd);
  const result = [':method', method, ':authority', authority, ':scheme', 'https', ':path', path];
  for (let i = 0; i < count; i++) {
    const name = bytes.toString('latin1', offsets[4 * i], offsets[4 * i + 1]).toLowerCase();
    if (!DROPPED.has(name))
      result.push(name, bytes.toString('latin1', offsets[4 * i + 2], offsets[4 * i + 3]));
  }
  return result;
}
