import { isIPv4, isIPv6 } from 'node:net';
import { domainToASCII } from 'node:url';

/**
 * Host names as Sallyport writes them everywhere: lower case, A-labels (IDNA, UTS 46), no trailing dot; IPv4 dotted,
 * IPv6 compressed (RFC 5952) and without brackets. One name has one spelling, so that comparing is enough.
 */

/** A host and, where one was written, its port. */
export interface HostPort {
  readonly host: string;
  readonly port: number | null;
}

/** The canonical spelling of a host name or IP literal, or null where it is none. */
export function canonicalHost(text: string): string | null {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : null;
  const literal = bare ?? text;
  if (isIPv6(literal) && !literal.includes('%')) return new URL(`http://[${literal}]/`).hostname.slice(1, -1);
  if (bare !== null) return null;
  // domainToASCII reads like a URL's host: it would decode %2e and stop at a slash. Neither may get that far.
  if (!/^(?:[A-Za-z0-9._-]|[^\x00-\x7f])+$/.test(text)) return null;
  const ascii = domainToASCII(text).replace(/\.$/, '');
  if (isIPv4(ascii)) return ascii === text ? ascii : null; // 0x7f.1 and full-width digits are not host names
  return isDnsName(ascii) ? ascii : null;
}

/** Reads `host`, `host:port`, an IPv6 literal or `[IPv6]:port`; null where it is none of these. */
export function parseHostPort(text: string): HostPort | null {
  const { name, port } = cutPort(text);
  const host = canonicalHost(name);
  return host === null || port === undefined ? null : { host, port };
}

/**
 * Reads a pattern of a service: a host as above, "*.x" (exactly one label) or "**.x" (one or more), each with an
 * optional port. A wildcard's x has two labels at least and is no IP address. Null where it is none of these.
 */
export function parseHostPattern(text: string): HostPort | null {
  const stars = /^\*\*?\./.exec(text)?.[0];
  if (stars === undefined) return parseHostPort(text);
  const suffix = parseHostPort(text.slice(stars.length));
  if (suffix === null || !suffix.host.includes('.') || isIPv4(suffix.host)) return null;
  return { host: stars + suffix.host, port: suffix.port };
}

/** Whether a canonical pattern covers a canonical host. */
export function hostMatches(pattern: string, host: string): boolean {
  if (!pattern.startsWith('*')) return pattern === host;
  const deep = pattern.startsWith('**');
  const suffix = pattern.slice(deep ? 2 : 1);
  if (!host.endsWith(suffix) || isIPv4(host)) return false;
  const label = host.slice(0, -suffix.length);
  return label !== '' && (deep || !label.includes('.'));
}

/** `port` is null where none was written, undefined where what was written is no port. */
function cutPort(text: string): { name: string; port: number | null | undefined } {
  const colon = text.lastIndexOf(':');
  if (colon === -1 || text.endsWith(']') || isIPv6(text)) return { name: text, port: null };
  const digits = text.slice(colon + 1);
  const port = /^[1-9][0-9]{0,4}$/.test(digits) ? Number(digits) : 0;
  return { name: text.slice(0, colon), port: port >= 1 && port <= 65535 ? port : undefined };
}

function isDnsName(name: string): boolean {
  if (name.length === 0 || name.length > 253) return false;
  return name.split('.').every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label));
}
