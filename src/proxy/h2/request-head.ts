import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { SallyportError } from '../../errors.ts';
import { FIELD_VALUE, TOKEN } from '../http/chars.ts';
import { badRequest } from '../http/message.ts';
import { CONNECTION_FIELDS } from './connection-fields.ts';

/** RFC 9113, 8.3.1, and RFC 8441, 4. */
const PSEUDO = new Set([':method', ':scheme', ':authority', ':path', ':protocol']);
/** The upgrade to HTTP/2 (RFC 7540, 3.2.1) has no place in it either. */
const FORBIDDEN = new Set([...CONNECTION_FIELDS, 'http2-settings']);
/** What a WebSocket handshake over HTTP/2 leaves out (RFC 8441, 5.1), but its key. */
const HANDSHAKE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';

/** A request of HTTP/2 as the HTTP/1.1 that says the same. */
export interface TranslatedHead {
  /** The whole head, for a RequestReader, which judges it as it does any other. */
  readonly bytes: Buffer;
  /** Whether what follows is to be sent in chunks. */
  readonly chunked: boolean;
}

/**
 * Translates the fields of a request (RFC 9113, 8.3.1), names and values by turns as they came. `endStream`: no body
 * follows. An extended CONNECT for WebSocket (RFC 8441) becomes the handshake of HTTP/1.1. Throws bad_request,
 * misdirected_request, method_not_supported.
 */
export function translateHead(fields: readonly string[], endStream: boolean): TranslatedHead {
  const pseudo = new Map<string, string>();
  const lines: string[] = [];
  const crumbs: string[] = [];
  let host: string | undefined;
  let hasLength = false;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] ?? '';
    const value = fields[i + 1] ?? '';
    checkValue(value);
    if (name.startsWith(':')) {
      if (!PSEUDO.has(name) || pseudo.has(name) || lines.length > 0)
        throw badRequest('its pseudo-header fields are malformed');
      pseudo.set(name, value);
      continue;
    }
    checkName(name);
    if (FORBIDDEN.has(name)) throw badRequest(`it has a field "${name}", which HTTP/2 does not know`);
    if (name === 'te' && value.toLowerCase() !== 'trailers') throw badRequest('its TE is not "trailers"');
    if (name === 'host') {
      if (host !== undefined && host !== value) throw badRequest('it has more than one Host');
      host = value;
    } else if (name === 'cookie') {
      crumbs.push(value); // RFC 9113, 8.2.3
    } else {
      if (name === 'content-length') hasLength = true;
      lines.push(`${name}: ${value}\r\n`);
    }
  }
  const { method, path, authority, webSocket } = understand(pseudo, host);
  if (crumbs.length > 0) lines.push(`cookie: ${crumbs.join('; ')}\r\n`);
  if (webSocket) lines.push(HANDSHAKE, `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n`);
  const chunked = !endStream && !hasLength && !webSocket && method !== 'CONNECT';
  if (chunked) lines.push('Transfer-Encoding: chunked\r\n');
  const text = `${method} ${path} HTTP/1.1\r\nHost: ${authority}\r\n${lines.join('')}\r\n`;
  return { bytes: Buffer.from(text, 'latin1'), chunked };
}

function understand(pseudo: ReadonlyMap<string, string>, host: string | undefined) {
  const method = pseudo.get(':method') ?? '';
  const authority = pseudo.get(':authority') ?? host ?? '';
  checkName(method);
  if (host !== undefined && host.toLowerCase() !== authority.toLowerCase()) {
    throw badRequest('its :authority and its Host differ');
  }
  checkTarget(authority, 'authority');
  const protocol = pseudo.get(':protocol');
  if (method === 'CONNECT' && protocol === undefined)
    return { method, path: authority, authority, webSocket: false };
  const path = pseudo.get(':path') ?? '';
  checkTarget(path, 'path');
  if (pseudo.get(':scheme') !== 'https') {
    throw new SallyportError(
      'misdirected_request',
      'The request is not for https: ask for the https:// address.',
    );
  }
  // What is no path here would be an absolute-form or an authority-form there.
  if (!path.startsWith('/') && path !== '*') throw badRequest('its :path is no path');
  if (protocol === undefined) return { method, path, authority, webSocket: false };
  if (method !== 'CONNECT' || protocol !== 'websocket') {
    throw new SallyportError('method_not_supported', 'Of extended CONNECT only WebSocket is carried.');
  }
  return { method: 'GET', path, authority, webSocket: true };
}

/** One byte out of place would end a line, and begin another request. */
function checkValue(value: string): void {
  for (let i = 0; i < value.length; i++) {
    if (FIELD_VALUE[value.charCodeAt(i)] !== 1) throw badRequest('a field value in it has a control byte');
  }
}

function checkName(name: string): void {
  for (let i = 0; i < name.length; i++) {
    if (TOKEN[name.charCodeAt(i)] !== 1) throw badRequest('a name in it has a byte that names cannot have');
  }
  if (name === '') throw badRequest('a name in it is empty');
}

function checkTarget(text: string, what: string): void {
  if (!/^[\x21-\x7e]+$/.test(text))
    throw badRequest(`its :${what} is missing or has a byte that it cannot have`);
}
