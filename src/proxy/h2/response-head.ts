import type { Buffer } from 'node:buffer';
import { STATUS_CODES } from 'node:http';
import { allocateSecret } from '../../secret-buffer.ts';
import { FIELD_VALUE, TOKEN } from '../http/chars.ts';
import { upstreamInvalid } from '../http/faults.ts';
import { CONNECTION_FIELDS } from './connection-fields.ts';

/** A response of HTTP/2 as the HTTP/1.1 that says the same. */
export interface ResponseBytes {
  readonly bytes: Buffer;
  /** Whether what follows is to be sent in chunks. */
  readonly chunked: boolean;
  /** Whether it is no interim answer. */
  readonly final: boolean;
}

/**
 * Translates the fields of an answer to `method`, names and values by turns as they came; `ended`: no body follows.
 * The bytes are the caller's, to wipe. Throws upstream_invalid.
 */
export function responseHead(fields: readonly string[], method: string, ended: boolean): ResponseBytes {
  let status = 0;
  let lines = '';
  let hasLength = false;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] ?? '';
    const value = fields[i + 1] ?? '';
    if (name === ':status') status = Number(value);
    else {
      check(name, value);
      if (name === 'content-length') hasLength = true;
      lines += `${name}: ${value}\r\n`;
    }
  }
  if (!Number.isInteger(status) || status < 100 || status > 599 || status === 101) {
    throw upstreamInvalid('its status is none of HTTP/2');
  }
  const final = status >= 200;
  const bodiless = !final || method === 'HEAD' || status === 204 || status === 304;
  const chunked = !bodiless && !hasLength && !ended;
  if (chunked) lines += 'Transfer-Encoding: chunked\r\n';
  else if (!bodiless && !hasLength) lines += 'Content-Length: 0\r\n';
  const text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines}\r\n`;
  const bytes = allocateSecret(text.length);
  bytes.write(text, 'latin1');
  return { bytes, chunked, final };
}

/** One byte out of place would end a line, and begin another field. */
function check(name: string, value: string): void {
  for (let i = 0; i < name.length; i++) {
    if (TOKEN[name.charCodeAt(i)] !== 1) throw upstreamInvalid('a field name in it is malformed');
  }
  for (let i = 0; i < value.length; i++) {
    if (FIELD_VALUE[value.charCodeAt(i)] !== 1) throw upstreamInvalid('a field value in it is malformed');
  }
  if (name === '' || CONNECTION_FIELDS.has(name))
    throw upstreamInvalid('it has a field that HTTP/2 does not know');
}
