import { hash } from 'node:crypto';

const BUCKETS = 256;

/** A row's table and primary key, and its MAC or the SHA-256 of its contents. */
export type Pair = readonly [key: string, mac: Buffer];

export interface DigestDraft {
  /** The digest (32 bytes) at that counter. */
  at(counter: number): Buffer;
  take(): void;
}

/**
 * A digest of the whole state: SHA-256 over a name, its counter and 256 bucket digests, each SHA-256 over the sorted (row,
 * MAC) pairs whose row falls into it (first byte of the row's SHA-256). It depends on the set of pairs alone, and one
 * change costs one bucket, not the whole table. The digest of contents is the same over (row, SHA-256 of the row's
 * encoding) under another name.
 */
export class StateDigest {
  readonly #buckets = Array.from({ length: BUCKETS }, () => new Map<string, Buffer>());
  readonly #digests = this.#buckets.map(bucketDigest);

  readonly #name: Buffer;
  /** In which bucket each row falls: worked out once, where two digests are over the same rows. */
  readonly #places: Map<string, number>;

  constructor(
    name: 'sallyport state v1' | 'sallyport contents v1' = 'sallyport state v1',
    beside?: StateDigest,
  ) {
    this.#name = Buffer.from(name);
    this.#places = beside ? beside.#places : new Map();
  }

  /**
   * What the digest would be with the pairs of `key` (table and primary key) and MAC; `take` makes it so. A draft is of no
   * use any more once another was taken.
   */
  draft(pairs: Iterable<Pair>): DigestDraft {
    const touched = [...this.#with(pairs)].map(
      ([index, bucket]) => [index, bucket, bucketDigest(bucket)] as const,
    );
    return {
      at: (counter) => {
        const digests = [...this.#digests];
        for (const [index, , digest] of touched) digests[index] = digest;
        return stateDigest(this.#name, counter, digests);
      },
      take: () => {
        for (const [index, bucket, digest] of touched) {
          this.#buckets[index] = bucket;
          this.#digests[index] = digest;
        }
      },
    };
  }

  put(pairs: Iterable<Pair>): void {
    this.draft(pairs).take();
  }

  /** The digest (32 bytes) at `counter`, as it would be with `pairs` put. */
  preview(counter: number, pairs: Iterable<Pair> = []): Buffer {
    return this.draft(pairs).at(counter);
  }

  /** The buckets that `pairs` fall into, as they would be: each in the order of its keys. */
  #with(pairs: Iterable<Pair>): Map<number, Map<string, Buffer>> {
    const touched = new Map<number, Map<string, Buffer>>();
    for (const [key, mac] of pairs) {
      const index = this.#place(key);
      let bucket = touched.get(index);
      if (!bucket) {
        bucket = new Map(this.#buckets[index]);
        touched.set(index, bucket);
      }
      bucket.set(key, mac);
    }
    for (const [index, bucket] of touched) {
      // A key that was there keeps its place: only new ones are to be sorted in.
      if (bucket.size !== this.#buckets[index]?.size) touched.set(index, sorted(bucket));
    }
    return touched;
  }

  #place(key: string): number {
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    const place = hash('sha256', key, 'buffer')[0] ?? 0;
    this.#places.set(key, place);
    return place;
  }
}

function stateDigest(name: Buffer, counter: number, buckets: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(8);
  head.writeBigUInt64BE(BigInt(counter));
  return hash('sha256', Buffer.concat([name, head, ...buckets]), 'buffer');
}

function sorted(bucket: ReadonlyMap<string, Buffer>): Map<string, Buffer> {
  return new Map([...bucket].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** For each key in order: u32 length of key, u32 length of MAC, key, MAC. In one buffer: there are many. */
function bucketDigest(bucket: ReadonlyMap<string, Buffer>): Buffer {
  let length = 0;
  for (const [key, mac] of bucket) length += 8 + Buffer.byteLength(key) + mac.length;
  const all = Buffer.allocUnsafe(length);
  let at = 0;
  for (const [key, mac] of bucket) {
    const written = all.write(key, at + 8);
    all.writeUInt32BE(written, at);
    all.writeUInt32BE(mac.length, at + 4);
    at += 8 + written;
    at += mac.copy(all, at);
  }
  return hash('sha256', all, 'buffer');
}
