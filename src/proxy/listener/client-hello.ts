const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const HOST_NAME = 0;
/** A record's content (RFC 8446, 5.1), and the most of a hello that is looked at: real ones have 200 to 2,000 bytes. */
const RECORD_BYTES = 16_384;
const HELLO_BYTES = 16_384;
const MAX_RECORDS = 8;
const HEADER_BYTES = 5;

/** What a TLS client's first message says: `name` undefined where it names no host. */
export interface ClientHello {
  readonly name: string | undefined;
}

/**
 * Reads the start of a connection up to the server name of a ClientHello (RFC 8446, 4.1.2; RFC 6066, 3), without
 * taking anything: 'more' where it is not whole yet, 'other' where it is none. The name is as it was sent; whoever
 * ends TLS compares it with what was decided by it.
 */
export function readClientHello(bytes: Buffer): ClientHello | 'more' | 'other' {
  const message: Buffer[] = [];
  let length = 0;
  for (let at = 0; ; ) {
    if (at < bytes.length && bytes[at] !== HANDSHAKE) return 'other';
    if (at + 1 < bytes.length && bytes[at + 1] !== 3) return 'other';
    if (at + HEADER_BYTES > bytes.length) return 'more';
    const size = bytes.readUInt16BE(at + 3);
    if (size === 0 || size > RECORD_BYTES || message.length === MAX_RECORDS) return 'other';
    const content = bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + size);
    message.push(content);
    length += content.length;
    const first = message.length === 1 ? content : Buffer.concat(message);
    if (first[0] !== undefined && first[0] !== CLIENT_HELLO) return 'other';
    if (length >= 4) {
      const whole = 4 + first.readUIntBE(1, 3);
      if (whole > HELLO_BYTES) return 'other';
      if (length >= whole) return { name: serverName(new Reader(first.subarray(4, whole))) };
    }
    if (content.length < size) return 'more';
    at += HEADER_BYTES + size;
  }
}

function serverName(hello: Reader): string | undefined {
  hello.take(2 + 32); // version, random
  hello.vector(1); // session
  hello.vector(2); // ciphers
  hello.vector(1); // compression
  const extensions = hello.vector(2);
  while (extensions.left > 0) {
    const type = extensions.number(2);
    const content = extensions.vector(2);
    if (type !== SERVER_NAME) continue;
    const names = content.vector(2);
    return names.number(1) === HOST_NAME ? names.vector(2).text() : undefined;
  }
  return undefined;
}

/** Takes from bytes what is there; what a length promises beyond the end is not. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(length: number): Buffer {
    const taken = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += taken.length;
    return taken;
  }

  number(size: 1 | 2): number {
    return this.take(size).reduce((sum, byte) => sum * 256 + byte, 0);
  }

  vector(lengthSize: 1 | 2): Reader {
    return new Reader(this.take(this.number(lengthSize)));
  }

  text(): string {
    return this.#bytes.toString('latin1');
  }
}
