import { z } from 'zod';

/** A state of the store: how many changes led to it, and StateDigest's digest at that counter, in hex. */
const StateHead = z.strictObject({
  counter: z.number().int().min(0),
  digest: z.string().regex(/^[0-9a-f]{64}$/),
});
export type StateHead = z.infer<typeof StateHead>;

/**
 * What stands on the token, out of reach of whoever writes the database: the newest state that is known to be stored.
 * It is written after the database, which may so be ahead of it (a crash between the two, a token whose files were not
 * synced): such a state counts where the store holds a record of it under the HSM's MAC, which only the vault can have
 * had made. Never does one that is behind the anchor.
 */
const Anchor = z.strictObject({ format: z.literal(1), state: StateHead });

export function encodeAnchor(state: StateHead): Buffer {
  return Buffer.from(JSON.stringify({ format: 1, state } satisfies z.infer<typeof Anchor>), 'utf8');
}

/** Undefined where the token's object is not an anchor of this version. */
export function decodeAnchor(bytes: Buffer): StateHead | undefined {
  try {
    return Anchor.parse(JSON.parse(bytes.toString('utf8'))).state;
  } catch {
    return undefined;
  }
}

/**
 * What the MAC of a state's record in the store is over. `contents`: the digest over all rows' contents; null in the
 * records of earlier versions.
 */
export function encodeRecord({ counter, digest }: StateHead, contents: string | null): Buffer {
  const text =
    contents === null
      ? `sallyport state record v1\n${counter}\n${digest}\n`
      : `sallyport state record v2\n${counter}\n${digest}\n${contents}\n`;
  return Buffer.from(text, 'utf8');
}

export function sameHead(a: StateHead, b: StateHead): boolean {
  return a.counter === b.counter && a.digest === b.digest;
}
