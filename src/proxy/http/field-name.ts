import { FOLD, LOWER } from './chars.ts';

/** Fields that concern one connection only (RFC 9110, 7.6.1, and what older clients send): never passed on. */
export const HOP_BY_HOP: readonly string[] = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
];

/** Whether the bytes are `name`, which is lower-case ASCII, without regard to case. Makes no string. */
export function nameEquals(bytes: Uint8Array, start: number, end: number, name: string): boolean {
  if (end - start !== name.length) return false;
  for (let i = 0; i < name.length; i++) {
    if (LOWER[bytes[start + i] ?? 0] !== name.charCodeAt(i)) return false;
  }
  return true;
}

/** As `nameEquals`, with "_" and "-" alike and `name` in any case: X_Api_Key equals x-api-key. */
export function foldedEquals(bytes: Uint8Array, start: number, end: number, name: string): boolean {
  if (end - start !== name.length) return false;
  for (let i = 0; i < name.length; i++) {
    if (FOLD[bytes[start + i] ?? 0] !== FOLD[name.charCodeAt(i)]) return false;
  }
  return true;
}

/** Whether the bytes name a hop-by-hop field. What Connection lists comes on top (`RequestHead.connection`). */
export function isHopByHop(bytes: Uint8Array, start: number, end: number): boolean {
  for (const name of HOP_BY_HOP) {
    if (name.length === end - start && nameEquals(bytes, start, end, name)) return true;
  }
  return false;
}
