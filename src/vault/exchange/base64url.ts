import { allocateSecret } from '../../secret-buffer.ts';

const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_', 'latin1');

/** Base64url without padding (RFC 4648, 5), as bytes of its own: a string could not be wiped. */
export function base64url(bytes: Uint8Array): Buffer {
  const out = allocateSecret(Math.ceil((bytes.length * 4) / 3));
  let at = 0;
  for (let i = 0; i < bytes.length; i += 3) {
    const bits = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    for (let shift = 18; shift >= 0 && at < out.length; shift -= 6) {
      out[at++] = ALPHABET[(bits >> shift) & 63] ?? 0;
    }
  }
  return out;
}
