import { z } from 'zod';

/** A state of the store: how many changes led to it, and StateDigest's digest at that counter, in hex. */
const StateHead = z.strictObject({
  counter: z.number().int().min(0),
  digest: z.string().regex(/^[0-9a-f]{64}$/),
});
export type StateHead = z.infer<typeof StateHead>;

/**
 * What stands on the token, out of reach of whoever writes the database: the state that was last known to be stored,
 * and the one that a change was about to store. A crash between the two writes leaves either: both are accepted at
 * the next start, and the anchor is then narrowed to the one found.
 */
const Anchor = z.strictObject({ format: z.literal(1), current: StateHead, next: StateHead.nullable() });
export type Anchor = z.infer<typeof Anchor>;

export function encodeAnchor(current: StateHead, next: StateHead | null): Buffer {
  return Buffer.from(JSON.stringify({ format: 1, current, next } satisfies Anchor), 'utf8');
}

/** Undefined where the token's object is not an anchor of this version. */
export function decodeAnchor(bytes: Buffer): Anchor | undefined {
  try {
    return Anchor.parse(JSON.parse(bytes.toString('utf8')));
  } catch {
    return undefined;
  }
}

export function sameHead(a: StateHead, b: StateHead | null): boolean {
  return b !== null && a.counter === b.counter && a.digest === b.digest;
}
