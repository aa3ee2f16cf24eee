import { hash } from 'node:crypto';

const BUCKETS = 256;

/** A row's table and primary key, and its MAC. */
export type Pair = readonly [key: string, mac: Buffer];

export interface DigestDraft {
  /** The digest (32 bytes) at that counter. */
  at(counter: number): Buffer;
  take(): void;
}

/**
 * A digest of the whole state: SHA-256 over its counter and 256 bucket digests, each SHA-256 over the sorted (row,
 * MAC) pairs whose row falls into it (first byte of the row's SHA-256). It depends on the set of pairs alone, and one
 * change costs one bucket, not the whole table.
 */
export class StateDigest {
  readonly #buckets = Array.from({ length: BUCKETS }, () => new Map<string, Buffer>());
  readonly #digests = this.#buckets.map(bucketDigest);

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
        return stateDigest(counter, digests);
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

  #with(pairs: Iterable<Pair>): Map<number, Map<string, Buffer>> {
    const touched = new Map<number, Map<string, Buffer>>();
    for (const [key, mac] of pairs) {
      const index = bucketOf(key);
      let bucket = touched.get(index);
      if (!bucket) {
        bucket = new Map(this.#buckets[index]);
        touched.set(index, bucket);
      }
      bucket.set(key, mac);
    }
    return touched;
  }
}

function stateDigest(counter: number, buckets: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(8);
  head.writeBigUInt64BE(BigInt(counter));
  return hash('sha256', Buffer.concat([Buffer.from('sallyport state v1'), head, ...buckets]), 'buffer');
}

function bucketOf(key: string): number {
  return hash('sha256', key, 'buffer')[0] ?? 0;
}

function bucketDigest(bucket: ReadonlyMap<string, Buffer>): Buffer {
  const parts: Buffer[] = [];
  for (const key of [...bucket.keys()].sort()) {
    const name = Buffer.from(key, 'utf8');
    const mac = bucket.get(key) ?? Buffer.alloc(0);
    const lengths = Buffer.alloc(8);
    lengths.writeUInt32BE(name.length, 0);
    lengths.writeUInt32BE(mac.length, 4);
    parts.push(lengths, name, mac);
  }
  return hash('sha256', Buffer.concat(parts), 'buffer');
}
