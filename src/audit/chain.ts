import { Buffer } from 'node:buffer';
import { hash } from 'node:crypto';
import { LinkLine } from './record.ts';

/** A place in a journal's chain: `link` batches so far, and the hash of the last of them (64 hex digits). */
export interface Head {
  readonly link: number;
  readonly hash: string;
}

/** Length of a hash as it stands in the chain: SHA-256 in lower-case hex. */
export const HASH_LENGTH = 64;

/** Where a journal's chain begins: it hangs on the file's name, so a renamed or swapped file does not verify. */
export function chainStart(fileName: string): Head {
  return { link: 0, hash: hash('sha256', fileName, 'hex') };
}

/** The next link's hash: over `previous` (64 hex digits) and the bytes of the batch's lines, newlines included. */
export function linkHash(previous: string | Buffer, batch: Buffer): string {
  const head = typeof previous === 'string' ? Buffer.from(previous, 'latin1') : previous;
  return hash('sha256', Buffer.concat([head, batch]), 'hex');
}

/** The line that closes a batch, newline included. */
export function linkLine(head: Head): string {
  return `{"link":${head.link},"hash":"${head.hash}"}\n`;
}

/** Longest possible link line in bytes: a link number has at most 16 digits. */
export const LINK_LINE_MAX = linkLine({
  link: Number.MAX_SAFE_INTEGER,
  hash: '0'.repeat(HASH_LENGTH),
}).length;

const LINK_START = Buffer.from('{"link":', 'latin1');

/** Tells a link's line from a record's (a record begins with its `type`). `line` is without the newline. */
export function isLinkLine(line: Buffer): boolean {
  return line.length <= LINK_LINE_MAX && line.subarray(0, LINK_START.length).equals(LINK_START);
}

/** Reads a link line; undefined where it is none, or not exactly as a writer writes it. */
export function parseLinkLine(line: Buffer): Head | undefined {
  try {
    const text = line.toString('latin1');
    const head = LinkLine.parse(JSON.parse(text));
    return linkLine(head) === `${text}\n` ? head : undefined;
  } catch {
    return undefined;
  }
}

/** What the HSM's audit key signs for a checkpoint of the journal `fileName` (see CheckpointRecord). */
export function checkpointMessage(fileName: string, head: Head): Buffer {
  return Buffer.from(`sallyport checkpoint 1\n${fileName}\n${head.link}\n${head.hash}\n`, 'utf8');
}
