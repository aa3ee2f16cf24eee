import fc from 'fast-check';
import t from 'tap';
import { WebSocketFrames } from '../../../src/proxy/websocket/frames.ts';

interface Frame {
  readonly first: number;
  readonly payload: Uint8Array;
  /** Bytes of the extended length: more than are needed are allowed to a reader, if not to a sender. */
  readonly extended: 0 | 2 | 8;
}

function encode({ first, payload, extended }: Frame): Buffer {
  const { length } = payload;
  const size = extended === 0 && length >= 126 ? 2 : extended;
  const header = Buffer.alloc(2 + size);
  header[0] = first;
  header[1] = size === 8 ? 127 : size === 2 ? 126 : length;
  if (size === 2) header.writeUInt16BE(length, 2);
  if (size === 8) header.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([header, payload]);
}

const anyFrame = fc.record({
  first: fc.integer({ min: 0, max: 255 }).map((byte) => byte & 0x8f),
  payload: fc.uint8Array({ maxLength: 300 }),
  extended: fc.constantFrom(0, 2, 8),
});

t.test('the payloads are the content, however the bytes are cut', (t) => {
  fc.assert(
    fc.property(
      fc.array(anyFrame, { maxLength: 6 }),
      fc.array(fc.nat(2_000), { maxLength: 8 }),
      (frames, cuts) => {
        const bytes = Buffer.concat(frames.map(encode));
        const reader = new WebSocketFrames();
        const content: Buffer[] = [];
        const edges = [...cuts.filter((cut) => cut < bytes.length), bytes.length].sort((a, b) => a - b);
        let from = 0;
        for (const to of edges) {
          const chunk = bytes.subarray(from, to);
          if (reader.read(chunk, 0) !== chunk.length) return false;
          for (let i = 0; i < reader.ranges.length; i += 2) {
            content.push(chunk.subarray(reader.ranges[i], reader.ranges[i + 1]));
          }
          from = to;
        }
        const expected = Buffer.concat(frames.map(({ payload }) => payload));
        return (
          Buffer.concat(content).equals(expected) && reader.contentBytes === expected.length && !reader.done
        );
      },
    ),
    { numRuns: 2_000 },
  );
  t.pass();
  t.end();
});

t.test('what no server may send, at whatever byte it shows', (t) => {
  for (const [what, hex] of [
    ['a mask', '8185'],
    ['a mask on an empty frame', '8180'],
    ['RSV1', 'c1'],
    ['RSV2', 'a1'],
    ['RSV3', '91'],
    ['a length of 2^63', '827f8000000000000000'],
    ['a length of 2^53', '827f0020000000000000'],
  ] as const) {
    const bytes = Buffer.from(hex, 'hex');
    t.throws(() => new WebSocketFrames().read(bytes, 0), { code: 'upstream_invalid' }, what);
    const reader = new WebSocketFrames();
    t.throws(
      () => {
        for (const byte of bytes) reader.read(Buffer.of(byte), 0);
      },
      { code: 'upstream_invalid' },
      `${what}, byte by byte`,
    );
  }
  const longest = new WebSocketFrames();
  t.equal(longest.read(Buffer.from('827f001fffffffffffff', 'hex'), 0), 10, '2^53 - 1 can be counted');
  t.end();
});
