import { allocateSecret } from '../../secret-buffer.ts';

const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1');
const URL_ALPHABET = Buffer.concat([ALPHABET.subarray(0, -2), Buffer.from('-_', 'latin1')]);
const PADDING = 0x3d;

/** Base64 with padding (RFC 4648, 4), as bytes of its own, which its owner wipes: a string could not be wiped. */
export function base64(bytes: Uint8Array): Buffer {
  const out = allocateSecret(Math.ceil(bytes.length / 3) * 4);
  out.fill(PADDING, write(out, bytes, ALPHABET));
  return out;
}

/** Base64url without padding (RFC 4648, 5), in the same way. */
export function base64url(bytes: Uint8Array): Buffer {
  const out = allocateSecret(digits(bytes));
  write(out, bytes, URL_ALPHABET);
  return out;
}

function digits(bytes: Uint8Array): number {
  return Math.ceil((bytes.length * 4) / 3);
}

/** Returns the offset after the last digit. */
function write(out: Buffer, bytes: Uint8Array, alphabet: Buffer): number {
  const end = digits(bytes);
  let at = 0;
  for (let i = 0; i < bytes.length; i += 3) {
    const bits = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    for (let shift = 18; shift >= 0 && at < end; shift -= 6) {
      out[at++] = alphabet[(bits >> shift) & 63] ?? 0;
    }
  }
  return end;
}
