import { SallyportError } from '../errors.ts';
import { allocateSecret } from '../secret-buffer.ts';

/**
 * The wire format between two of our processes, big-endian:
 *
 *   u32 length of what follows · u32 id · u8 kind · u32 length of header · header (JSON, UTF-8)
 *   · u16 number of parts · for each part: u32 length, bytes
 *
 * Secrets travel only in parts. The header is JSON and so becomes strings: it never holds one.
 */
export const KIND = { request: 1, reply: 2, failure: 3, event: 4 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

export interface Frame {
  readonly id: number;
  readonly kind: Kind;
  readonly header: unknown;
  /** Views into the receiver's buffer: valid until the handler returns, then wiped. Copy what must live. */
  readonly parts: readonly Buffer[];
}

/** Larger than any snapshot that we promise to carry; a peer that announces more is broken or hostile. */
export const MAX_FRAME = 64 * 1024 * 1024;
const FIXED = 4 + 1 + 4 + 2;

/** Encodes one frame into a buffer of its own (never pooled), which the sender wipes once it is written. */
export function encodeFrame(id: number, kind: Kind, header: unknown, parts: readonly Uint8Array[]): Buffer {
  const json = Buffer.from(JSON.stringify(header), 'utf8');
  let length = FIXED + json.length;
  for (const part of parts) length += 4 + part.length;
  if (length > MAX_FRAME || parts.length > 0xffff) {
    throw new SallyportError(
      'channel_malformed',
      `A message of ${length} bytes is larger than a channel carries.`,
    );
  }
  const out = allocateSecret(4 + length);
  let at = out.writeUInt32BE(length, 0);
  at = out.writeUInt32BE(id, at);
  at = out.writeUInt8(kind, at);
  at = out.writeUInt32BE(json.length, at);
  at += json.copy(out, at);
  at = out.writeUInt16BE(parts.length, at);
  for (const part of parts) {
    at = out.writeUInt32BE(part.length, at);
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Decodes the body of a frame (what follows its length). Throws `channel_malformed` on anything off. */
export function decodeFrame(body: Buffer): Frame {
  try {
    const id = body.readUInt32BE(0);
    const kind = readKind(body.readUInt8(4));
    const jsonEnd = 9 + body.readUInt32BE(5);
    if (jsonEnd > body.length) throw new RangeError('header exceeds the frame');
    const header: unknown = JSON.parse(body.toString('utf8', 9, jsonEnd));
    const count = body.readUInt16BE(jsonEnd);
    const parts: Buffer[] = [];
    let at = jsonEnd + 2;
    for (let i = 0; i < count; i++) {
      const end = at + 4 + body.readUInt32BE(at);
      if (end > body.length) throw new RangeError('part exceeds the frame');
      parts.push(body.subarray(at + 4, end));
      at = end;
    }
    if (at !== body.length) throw new RangeError('bytes after the last part');
    return { id, kind, header, parts };
  } catch (cause) {
    throw new SallyportError('channel_malformed', 'A message between two processes was malformed.', {
      cause,
    });
  }
}

function readKind(value: number): Kind {
  for (const kind of Object.values(KIND)) if (kind === value) return kind;
  throw new RangeError(`unknown kind ${value}`);
}

/**
 * Cuts a byte stream into frames. Bytes are copied into one buffer that grows to the largest frame seen and is
 * wiped after each frame; an outgrown buffer is wiped before it is dropped.
 */
export class FrameReader {
  #buffer = Buffer.allocUnsafeSlow(64 * 1024);
  #filled = 0;
  readonly #onFrame: (frame: Frame) => void;

  constructor(onFrame: (frame: Frame) => void) {
    this.#onFrame = onFrame;
  }

  /** Takes `bytes` and calls `onFrame` for each frame that they complete. The caller wipes `bytes`. */
  push(bytes: Uint8Array): void {
    this.#reserve(this.#filled + bytes.length);
    this.#buffer.set(bytes, this.#filled);
    this.#filled += bytes.length;
    let start = 0;
    while (this.#filled - start >= 4) {
      const length = this.#buffer.readUInt32BE(start);
      if (length > MAX_FRAME || length < FIXED) {
        throw new SallyportError('channel_malformed', `A message announces ${length} bytes.`);
      }
      const end = start + 4 + length;
      if (end > this.#filled) {
        if (4 + length > this.#buffer.length) this.#reserve(4 + length);
        break;
      }
      try {
        this.#onFrame(decodeFrame(this.#buffer.subarray(start + 4, end)));
      } finally {
        this.#buffer.fill(0, start, end);
      }
      start = end;
    }
    if (start > 0) {
      this.#buffer.copyWithin(0, start, this.#filled);
      this.#buffer.fill(0, this.#filled - start, this.#filled);
      this.#filled -= start;
    }
  }

  #reserve(size: number): void {
    if (size <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(size, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#filled);
    this.#buffer.fill(0);
    this.#buffer = larger;
  }
}
