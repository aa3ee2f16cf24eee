import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { checkpointMessage, HASH_LENGTH, type Head } from './chain.ts';
import type { CheckpointRecord } from './record.ts';

/** Reads the audit key: an uncompressed P-256 point, 65 bytes. Throws invalid_argument. */
export function readAuditKey(point: Buffer): KeyObject {
  try {
    if (point.length !== 65 || point[0] !== 4) throw new RangeError('not an uncompressed P-256 point');
    const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((part) => part.toString('base64url'));
    if (x === undefined || y === undefined) throw new RangeError('not two coordinates');
    return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
  } catch (cause) {
    throw new SallyportError('invalid_argument', 'The audit public key is not an uncompressed P-256 point.', {
      cause,
    });
  }
}

/** Links kept to compare checkpoints with: a checkpoint signs a link that was written shortly before it. */
const KEPT = 65_536;

/** Checks the checkpoints of one of the vault's journals against its chain, and with the audit key where it is given. */
export class Checkpoints {
  readonly #fileName: string;
  readonly #key: KeyObject | undefined;
  readonly #hashes = Buffer.alloc((KEPT * HASH_LENGTH) / 2);
  #link = 0;
  #signed = 0;

  constructor(fileName: string, key: KeyObject | undefined) {
    this.#fileName = fileName;
    this.#key = key;
  }

  /** The newest link whose signature was verified; 0: none, or no key. */
  get signedLink(): number {
    return this.#signed;
  }

  /** Remembers a link of the chain. */
  passed(head: Head): void {
    this.#hashes.write(head.hash, this.#slot(head.link), 'hex');
    this.#link = head.link;
  }

  /** What is wrong with `checkpoint`, as a sentence; undefined where nothing is. Call before its own link has passed. */
  check(checkpoint: CheckpointRecord): string | undefined {
    const { link, hash } = checkpoint;
    if (link < 1 || link > this.#link || link <= this.#link - KEPT) {
      return `This checkpoint signs link ${link}, which is not among the ${KEPT} links before it.`;
    }
    const slot = this.#slot(link);
    if (this.#hashes.toString('hex', slot, slot + HASH_LENGTH / 2) !== hash) {
      return `This checkpoint signs another hash for link ${link} than the chain has: the chain before it was rewritten.`;
    }
    if (!this.#key) return undefined;
    if (!this.#isSigned(checkpoint, this.#key)) {
      return `This checkpoint's signature of link ${link} is not the audit key's.`;
    }
    this.#signed = Math.max(this.#signed, link);
    return undefined;
  }

  #isSigned(checkpoint: CheckpointRecord, key: KeyObject): boolean {
    const message = checkpointMessage(this.#fileName, checkpoint);
    const signature = Buffer.from(checkpoint.signature, 'hex');
    return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
  }

  #slot(link: number): number {
    return (link % KEPT) * (HASH_LENGTH / 2);
  }
}
