import { Buffer } from 'node:buffer';
import { hash } from 'node:crypto';
import { nameEquals } from '../http/field-name.ts';
import { findField } from '../http/find-field.ts';
import type { FieldLines, RequestHead, ResponseHead } from '../http/message.ts';

/** RFC 6455, 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** 16 bytes in base64. */
const KEY = /^[A-Za-z0-9+/]{21}[AQgw]==$/;
const SWITCHED = Buffer.from('Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n', 'latin1');

/**
 * The Sec-WebSocket-Accept with which a server agrees, where the request is a WebSocket handshake (RFC 6455, 4.2.1);
 * undefined where it is anything else, and an Upgrade in it is not passed on.
 */
export function webSocketAccept(head: RequestHead): string | undefined {
  if (!head.connection.includes('upgrade') || head.method !== 'GET' || head.minor === 0) return undefined;
  if (head.framing.kind !== 'none' || !is(head.fields, 'upgrade', 'websocket')) return undefined;
  const key = only(head.fields, 'sec-websocket-key');
  if (key === undefined || !KEY.test(key) || !is(head.fields, 'sec-websocket-version', '13'))
    return undefined;
  return hash('sha1', key + GUID, 'base64');
}

/** Whether a 101 agrees to just that handshake (RFC 6455, 4.1). `extended`: extensions were offered. */
export function isSwitch(head: ResponseHead, accept: string, extended: boolean): boolean {
  return (
    head.status === 101 &&
    head.connection.includes('upgrade') &&
    is(head.fields, 'upgrade', 'websocket') &&
    only(head.fields, 'sec-websocket-accept') === accept &&
    (extended || findField(head.fields, 'sec-websocket-extensions') < 0)
  );
}

/** A 101's head without the fields of the server's connection, copied, with those of the agent's. */
export function switchedHead(stripped: Buffer): Buffer {
  return Buffer.concat([stripped.subarray(0, stripped.length - 2), SWITCHED]);
}

/** The value of the one field called `name`; undefined where there is none, or several. */
function only(fields: FieldLines, name: string): string | undefined {
  const at = findField(fields, name);
  if (at < 0 || findField(fields, name, at + 1) >= 0) return undefined;
  return fields.bytes.toString('latin1', fields.offsets[4 * at + 2], fields.offsets[4 * at + 3]);
}

/** Whether the one field called `name` has just that value, in any case. */
function is(fields: FieldLines, name: string, value: string): boolean {
  const at = findField(fields, name);
  if (at < 0 || findField(fields, name, at + 1) >= 0) return false;
  return nameEquals(fields.bytes, fields.offsets[4 * at + 2] ?? 0, fields.offsets[4 * at + 3] ?? 0, value);
}
