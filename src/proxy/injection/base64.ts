const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1');
const PAD = 0x3d;

export function base64Length(bytes: number): number {
  return Math.ceil(bytes / 3) * 4;
}

/**
 * Base64 (RFC 4648, 4) of the pieces taken as one run of bytes, written straight into `out`: no string, and no buffer
 * in which a secret would be left. Returns the offset after it.
 */
export function writeBase64(out: Buffer, at: number, pieces: readonly Buffer[]): number {
  let offset = at;
  let bits = 0;
  let count = 0;
  for (const piece of pieces) {
    for (const byte of piece) {
      bits = (bits << 8) | byte;
      count++;
      if (count < 3) continue;
      offset = writeDigits(out, offset, bits, 4);
      bits = 0;
      count = 0;
    }
  }
  if (count === 0) return offset;
  offset = writeDigits(out, offset, bits << (8 * (3 - count)), count + 1);
  for (let i = count; i < 3; i++) out[offset++] = PAD;
  return offset;
}

/** The first `digits` of the four that the 24 `bits` make. */
function writeDigits(out: Buffer, at: number, bits: number, digits: number): number {
  for (let i = 0; i < digits; i++) out[at + i] = ALPHABET[(bits >>> (18 - 6 * i)) & 63] ?? PAD;
  return at + digits;
}
