import type { Buffer } from 'node:buffer';
import { domainToASCII } from 'node:url';
import { formatIPv6, isIPv4, parseIPv6 } from './address-literal.ts';
import { HOST_NAME } from './chars.ts';
import { nameEquals } from './field-name.ts';
import { badRequest } from './message.ts';

/** Where a request goes. `host`: see `canonicalHost`. */
export interface Authority {
  readonly host: string;
  readonly port: number;
}

export interface AbsoluteTarget extends Authority {
  readonly scheme: 'http' | 'https';
  /** Where path and query begin; equal to the target's end when it has neither, and at a "?" without a path. */
  readonly pathStart: number;
}

const SLASH = 0x2f;
const ASTERISK = 0x2a;
const COLON = 0x3a;
const DOT = 0x2e;
const QUESTION = 0x3f;
const BRACKET = 0x5b;

/** What most hosts are: names in canonical form, whose last label no resolver reads as a number. */
const CANONICAL_NAME = /^(?:[a-z0-9_-]{1,63}\.)*[a-z_-][a-z0-9_-]{0,62}$/;

/**
 * The one form of a host that is used for every comparison: lower-case A-labels without the trailing dot, an IPv4
 * address in four decimal parts, an IPv6 address as in RFC 5952 without brackets (accepted with or without). Throws
 * bad_request for everything that a resolver could take for an address that it does not look like (0x7f.1, 127.1,
 * octal parts), percent-encoding, user information, zone ids, empty or overlong labels.
 */
export function canonicalHost(text: string): string {
  if (CANONICAL_NAME.test(text) && text.length <= 253) return text;
  if (text.startsWith('[') || text.includes(':')) {
    const bracketed = text.startsWith('[') && text.endsWith(']');
    const groups = parseIPv6(bracketed ? text.slice(1, -1) : text);
    if (!groups) throw badRequest('an IPv6 address in it is malformed');
    return formatIPv6(groups);
  }
  if (isIPv4(text)) return text;
  const name = asciiName(text);
  const host = name.endsWith('.') ? name.slice(0, -1) : name;
  if (host.length > 253 || !host.split('.').every(isLabel))
    throw badRequest('a host in it is not a valid name');
  // As in WHATWG URL: a last label that is a number makes resolvers read the whole as an address.
  if (/(^|\.)(\d+|0x[0-9a-f]*)$/.test(host) && !isIPv4(host)) {
    throw badRequest('a host in it looks like an address but is not four decimal parts');
  }
  return host;
}

function asciiName(text: string): string {
  if (/^[A-Za-z0-9._-]*$/.test(text)) return text.toLowerCase();
  // domainToASCII decodes percent-escapes and reads numbers as addresses: neither may happen to a name.
  if (/[\0-\x20%/:?#@[\\\]^|<>\x7f]/.test(text)) {
    throw badRequest('a host in it has a character that names cannot have');
  }
  const ascii = domainToASCII(text);
  if (ascii === '' || isIPv4(ascii)) {
    throw badRequest('a host in it is not a valid internationalised name');
  }
  return ascii;
}

function isLabel(label: string): boolean {
  return label.length <= 63 && /^[a-z0-9_-]+$/.test(label);
}

/** authority-form, for CONNECT: host and port, both needed (RFC 9112, 3.2.3). Throws bad_request. */
export function parseAuthority(bytes: Buffer, start: number, end: number): Authority {
  return readAuthority(bytes.toString('latin1', start, end), undefined);
}

/** A Host field's value, or an authority whose port may be left out. Throws bad_request. */
export function parseHost(bytes: Buffer, start: number, end: number, defaultPort: number): Authority {
  return readAuthority(bytes.toString('latin1', start, end), defaultPort);
}

function readAuthority(text: string, defaultPort: number | undefined): Authority {
  const match = /^(\[[^\]]*\]|[^:[\]]*)(?::(\d{1,5}))?$/.exec(text);
  const port = match?.[2] === undefined ? defaultPort : Number(match[2]);
  if (match?.[1] === undefined || port === undefined || port < 1 || port > 65535) {
    throw badRequest('an authority in it is not host:port');
  }
  // Bytes above 0x7f were read as Latin-1 and mean nothing: only ASCII hosts travel in HTTP/1.1.
  if (/[^\x21-\x7e]/.test(match[1])) throw badRequest('a host in it has a byte that names cannot have');
  return { host: canonicalHost(match[1]), port };
}

/** absolute-form with scheme http or https (RFC 9112, 3.2.2). Throws bad_request. */
export function parseAbsolute(bytes: Buffer, start: number, end: number): AbsoluteTarget {
  const scheme = schemeOf(bytes, start, end);
  if (!scheme) throw badRequest('its request-target is neither a path nor an http or https URL');
  const authorityStart = start + scheme.length + 3;
  const pathStart = authorityEnd(bytes, authorityStart, end);
  const authority = parseHost(bytes, authorityStart, pathStart, scheme === 'http' ? 80 : 443);
  return { scheme, ...authority, pathStart };
}

function schemeOf(bytes: Buffer, start: number, end: number): 'http' | 'https' | undefined {
  if (nameEquals(bytes, start, Math.min(end, start + 7), 'http://')) return 'http';
  if (nameEquals(bytes, start, Math.min(end, start + 8), 'https://')) return 'https';
  return undefined;
}

function authorityEnd(bytes: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end && bytes[at] !== SLASH && bytes[at] !== QUESTION) at++;
  return at;
}

/**
 * Whether the request-target has the form that its method needs: authority-form for CONNECT alone, "*" for OPTIONS
 * alone, else origin-form or absolute-form (RFC 9112, 3.2). Throws bad_request where it has not. Returns the authority
 * of an absolute-form.
 */
export function checkTarget(
  method: string,
  bytes: Buffer,
  start: number,
  end: number,
): AbsoluteTarget | undefined {
  if (method === 'CONNECT') {
    parseAuthority(bytes, start, end);
    return undefined;
  }
  if (bytes[start] === SLASH) return undefined;
  if (end - start === 1 && bytes[start] === ASTERISK) {
    if (method !== 'OPTIONS') throw badRequest('its request-target "*" is for OPTIONS only');
    return undefined;
  }
  return parseAbsolute(bytes, start, end);
}

/**
 * Whether a Host value is a host with or without a port, without making a string: `parseHost` says which. Throws
 * bad_request.
 */
export function checkHost(bytes: Buffer, start: number, end: number): void {
  let at = start;
  if (bytes[at] === BRACKET) {
    parseHost(bytes, start, end, 1);
    return;
  }
  let dot = true;
  for (; at < end && bytes[at] !== COLON; at++) {
    const byte = bytes[at] ?? 0;
    const isDot = byte === DOT;
    if (HOST_NAME[byte] !== 1 || (isDot && dot)) throw badRequest('its Host is not a valid host');
    dot = isDot;
  }
  if (at === start) throw badRequest('its Host is empty');
  if (at === end) return;
  const digits = end - at - 1;
  let port = 0;
  for (at++; at < end; at++) {
    const digit = (bytes[at] ?? 0) - 0x30;
    port = digit >= 0 && digit <= 9 ? 10 * port + digit : Number.POSITIVE_INFINITY;
  }
  if (digits < 1 || digits > 5 || port < 1 || port > 65535) throw badRequest('its Host has an invalid port');
}

/**
 * The path of a request-target, without its query, as received: of origin-form, of absolute-form ("/" where the URL
 * has none), "*" of asterisk-form. `start` and `end` delimit a target that `RequestReader` accepted, of any method
 * but CONNECT.
 */
export function splitPath(bytes: Buffer, start = 0, end = bytes.length): string {
  const isPath = bytes[start] === SLASH || (end - start === 1 && bytes[start] === ASTERISK);
  const pathStart = isPath ? start : parseAbsolute(bytes, start, end).pathStart;
  let at = pathStart;
  while (at < end && bytes[at] !== QUESTION) at++;
  return at === pathStart ? '/' : bytes.toString('latin1', pathStart, at);
}
