import type { Wire } from './wire.ts';

/** RFC 9113, 6. */
export const TYPE = {
  data: 0,
  headers: 1,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4 } as const;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export const PREFACE = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  frame(TYPE.settings, 0, 0),
]);

/** Names and values by turns as HPACK literals without indexing (RFC 7541, 6.2.2): whatever bytes they hold. */
export function literals(fields: readonly string[]): Buffer {
  return Buffer.concat(
    fields.flatMap((text, i) => [
      ...(i % 2 === 0 ? [Buffer.of(0)] : []),
      integer(text.length),
      Buffer.from(text, 'latin1'),
    ]),
  );
}

/** RFC 7541, 5.1, with a prefix of 7 bits. */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.of(value);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.of(...bytes, rest);
}

export function request(host: string, more: readonly string[] = []): string[] {
  return [':method', 'GET', ':scheme', 'https', ':authority', host, ':path', '/', ...more];
}

/** Reads frames until one that `wanted` is true of; undefined where the other end finishes, or sends none in time. */
export async function readUntil(wire: Wire, wanted: (frame: Frame) => boolean): Promise<Frame | undefined> {
  for (;;) {
    const head = Buffer.from(await wire.read(9), 'latin1');
    if (head.length < 9) return undefined;
    const length = head.readUIntBE(0, 3);
    const payload = Buffer.from(await wire.read(length), 'latin1');
    const found = { type: head[3] ?? 0, flags: head[4] ?? 0, stream: head.readUInt32BE(5), payload };
    if (payload.length < length) return undefined;
    if (wanted(found)) return found;
  }
}

/** The error code of the GOAWAY that ends the connection, or -1 where it ends without one. */
export async function goawayCode(wire: Wire): Promise<number> {
  const goaway = await readUntil(
    wire,
    ({ type, payload }) => type === TYPE.goaway && payload.readUInt32BE(4) !== 0,
  );
  return goaway?.payload.readUInt32BE(4) ?? -1;
}

/** The error code of the RST_STREAM on `stream`, or -1 where none comes. */
export async function resetCode(wire: Wire, stream: number): Promise<number> {
  const reset = await readUntil(wire, (each) => each.type === TYPE.rstStream && each.stream === stream);
  return reset?.payload.readUInt32BE(0) ?? -1;
}
