import { nameEquals } from './http/field-name.ts';
import type { RequestHead } from './http/message.ts';
import { parseAbsolute, parseHost } from './http/target.ts';

export type Scheme = 'http' | 'https';
/** RFC 9110, 4.2. */
const DEFAULT_PORT = { http: 80, https: 443, '': 0 } as const;
const SLASH = 0x2f;
const ASTERISK = 0x2a;
const ROOT = Buffer.from('/', 'latin1');

/** "host" at the scheme's own port (none: ''), else "host:port", IPv6 in brackets: how a request to it names it. */
export function authorityText(host: string, port: number, scheme: Scheme | ''): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return port === DEFAULT_PORT[scheme] ? name : `${name}:${port}`;
}

/**
 * Whether a request on the way to `host` and `port` is for them: by its Host, and by its target where that is in
 * absolute-form (RFC 9112, 3.2.2), whose scheme must be the one in use. `text`: authorityText. Throws bad_request.
 */
export function isFor(head: RequestHead, host: string, port: number, scheme: Scheme, text: string): boolean {
  const { bytes, targetStart, targetEnd, fields } = head;
  if (head.host >= 0) {
    const start = fields.offsets[4 * head.host + 2] ?? 0;
    const end = fields.offsets[4 * head.host + 3] ?? 0;
    if (!nameEquals(bytes, start, end, text)) {
      const named = parseHost(bytes, start, end, DEFAULT_PORT[scheme]);
      if (named.host !== host || named.port !== port) return false;
    }
  }
  if (bytes[targetStart] === SLASH || bytes[targetStart] === ASTERISK) return true;
  const absolute = parseAbsolute(bytes, targetStart, targetEnd);
  return absolute.scheme === scheme && absolute.host === host && absolute.port === port;
}

/** The request-target for the origin: as it came, or what an absolute-form leaves without scheme and authority. */
export function originForm(head: RequestHead): { start: number; end: number } | Buffer {
  const { bytes, targetStart: start, targetEnd: end } = head;
  if (bytes[start] === SLASH || bytes[start] === ASTERISK) return { start, end };
  const { pathStart } = parseAbsolute(bytes, start, end);
  if (bytes[pathStart] === SLASH && pathStart < end) return { start: pathStart, end };
  return Buffer.concat([ROOT, bytes.subarray(pathStart, end)]);
}
