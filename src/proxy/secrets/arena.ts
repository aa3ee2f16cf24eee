import sodium from 'sodium-native';
import { SallyportError } from '../../errors.ts';

/** A piece of the arena. `bytes` is a view: after `free` it reads zeros, then another secret. Keep no reference. */
export interface Slot {
  readonly bytes: Buffer;
  readonly offset: number;
  /** What the slot takes up, `bytes` rounded up. */
  readonly size: number;
}

interface Gap {
  readonly offset: number;
  readonly size: number;
}

const ALIGNMENT = 16;
const DEFAULT_BYTES = 1024 * 1024;

/**
 * The memory that secrets live in: one region from sodium_malloc, between guard pages, locked against swapping and
 * left out of core dumps. One region and not one per secret, since locking stops silently near 2,048 of those under
 * an 8 MiB limit (measured, ARCHITECTURE.md). First fit; what is freed is wiped and joined with its neighbours.
 */
export class Arena {
  readonly bytes: number;
  /** Whether the system let us lock the region: false under a limit (RLIMIT_MEMLOCK) that is too low. */
  readonly locked: boolean;
  readonly #memory: Buffer;
  readonly #live = new Set<Slot>();
  #gaps: Gap[];

  constructor(bytes: number = DEFAULT_BYTES) {
    this.bytes = bytes;
    this.#memory = sodium.sodium_malloc(bytes);
    this.#memory.fill(0);
    this.locked = lock(this.#memory);
    this.#gaps = [{ offset: 0, size: bytes }];
  }

  /** Bytes taken, rounding included. */
  get used(): number {
    let used = 0;
    for (const slot of this.#live) used += slot.size;
    return used;
  }

  fits(length: number): boolean {
    const size = sizeOf(length);
    return this.#gaps.some((gap) => gap.size >= size);
  }

  /** Copies `bytes` in; the caller wipes the original. Throws `internal` where no gap is large enough. */
  allocate(bytes: Uint8Array): Slot {
    const size = sizeOf(bytes.length);
    const index = this.#gaps.findIndex((gap) => gap.size >= size);
    const gap = this.#gaps[index];
    if (!gap) {
      throw new SallyportError(
        'internal',
        `The worker's ${this.bytes} bytes for secrets are taken by credentials in use: try again shortly.`,
      );
    }
    if (gap.size === size) this.#gaps.splice(index, 1);
    else this.#gaps[index] = { offset: gap.offset + size, size: gap.size - size };
    const view = this.#memory.subarray(gap.offset, gap.offset + bytes.length);
    view.set(bytes);
    const slot: Slot = { bytes: view, offset: gap.offset, size };
    this.#live.add(slot);
    return slot;
  }

  /** Wipes the slot and takes it back. Throws on a slot that is not live: freeing twice would wipe another's secret. */
  free(slot: Slot): void {
    if (!this.#live.delete(slot)) throw new Error('a slot of the arena was freed twice');
    this.#memory.fill(0, slot.offset, slot.offset + slot.size);
    let { offset, size } = slot;
    const after = this.#gaps.findIndex((gap) => gap.offset > offset);
    let index = after < 0 ? this.#gaps.length : after;
    let replaced = 0;
    const next = this.#gaps[index];
    if (next && offset + size === next.offset) {
      size += next.size;
      replaced++;
    }
    const previous = this.#gaps[index - 1];
    if (previous && previous.offset + previous.size === offset) {
      offset = previous.offset;
      size += previous.size;
      index--;
      replaced++;
    }
    this.#gaps.splice(index, replaced, { offset, size });
  }
}

function sizeOf(length: number): number {
  return Math.max(ALIGNMENT, Math.ceil(length / ALIGNMENT) * ALIGNMENT);
}

/** sodium_malloc locks, but does not say whether it could: ask again, which is no error for locked pages. */
function lock(memory: Buffer): boolean {
  try {
    sodium.sodium_mlock(memory);
    return true;
  } catch {
    return false; // reported as `locked`; what to do about it is the owner's choice
  }
}
