import type { Buffer } from 'node:buffer';
import { allocateSecret } from '../secret-buffer.ts';

const MAX_BYTES = 1024;
const SIX_BITS = new Int8Array(256).fill(-1);
for (const [value, character] of [
  ...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
].entries()) {
  SIX_BITS[character.charCodeAt(0)] = value;
}

/**
 * Reads the value of a Proxy-Authorization field, `Basic BASE64(name:token)` (RFC 7617), without making the token a
 * string. Undefined for anything else. The caller wipes `token`.
 */
export function readBasicCredentials(
  bytes: Buffer,
  start: number,
  end: number,
): { name: string; token: Buffer } | undefined {
  if (end - start < 8 || end - start > MAX_BYTES) return undefined;
  if (bytes.toString('latin1', start, start + 6).toLowerCase() !== 'basic ') return undefined;
  const decoded = decodeBase64(bytes, start + 6, end);
  const colon = decoded?.indexOf(0x3a) ?? -1;
  if (!decoded || colon < 1) return undefined;
  const token = allocateSecret(decoded.length - colon - 1);
  decoded.copy(token, 0, colon + 1);
  const name = decoded.toString('utf8', 0, colon);
  decoded.fill(0);
  return { name, token };
}

function decodeBase64(bytes: Buffer, start: number, end: number): Buffer | undefined {
  let last = end;
  while (last > start && last > end - 2 && bytes[last - 1] === 0x3d) last--;
  const out = allocateSecret(Math.floor(((last - start) * 3) / 4));
  let bits = 0;
  let held = 0;
  let at = 0;
  for (let i = start; i < last; i++) {
    const value = SIX_BITS[bytes[i] ?? 0] ?? -1;
    if (value < 0) {
      out.fill(0);
      return undefined;
    }
    bits = ((bits << 6) | value) & 0xffff;
    held += 6;
    if (held >= 8) {
      held -= 8;
      out[at++] = (bits >> held) & 0xff;
    }
  }
  return out;
}
