import v8 from 'node:v8';
import { rinseStack } from '../secrets/stack.ts';

/** How long what a request has left may stay. */
const SOON_MS = 1_000;
/** Overwritten in one turn of the event loop: a fraction of a millisecond. */
const SLICE_BYTES = 512 * 1024;
/** Numbers of 8 bytes each, as arrays keep them: small enough to be put among the young. */
const WORDS = 1_000;
const ARRAY_BYTES = 8 * WORDS;

/** Kept from being optimised away. */
let last: number[] = [];
let pending = false;

/**
 * Soon overwrites what dead strings have left in V8's young memory, slice by slice: a collection only frees it, and where
 * little else is done its bytes would stay for hours. Asked again meanwhile, it does it once.
 */
export function rinseHeapSoon(): void {
  if (pending) return;
  pending = true;
  setTimeout(() => {
    pending = false;
    rinseStack();
    rinse(youngBytes());
  }, SOON_MS).unref();
}

function rinse(left: number): void {
  for (let done = 0; done < SLICE_BYTES; done += ARRAY_BYTES) last = new Array<number>(WORDS).fill(0.5);
  if (left > 0 && last.length > 0) setImmediate(() => rinse(left - SLICE_BYTES));
}

/** Both halves, of which one is filled while the other lies idle, and some. */
function youngBytes(): number {
  const young = v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
  return 1.5 * (young?.space_size ?? 0);
}
