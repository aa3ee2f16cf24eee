import { SallyportError } from '../../errors.ts';
import { allocateSecret } from '../../secret-buffer.ts';

/** Of GCM and CCM alike. */
export const TAG_BYTES = 16;

/** Format ‖ AAD: so the format byte is authenticated too. */
export function boundAad(format: number, aad: Buffer): Buffer {
  return Buffer.concat([Buffer.of(format), aad]);
}

/** How many bytes of `wrapped` are not `overhead`. Throws hsm_refused where none is, or its format is another. */
export function payloadLength(wrapped: Buffer, format: number, overhead: number): number {
  const length = wrapped.length - overhead;
  if (wrapped[0] === format && length > 0) return length;
  throw new SallyportError('hsm_refused', 'The wrapped key is not whole: it was changed.');
}

/** Throws hsm_unavailable where the token wrapped to a length that its mechanism does not give. */
export function expectLength(written: number, expected: number): void {
  if (written === expected) return;
  throw new SallyportError(
    'hsm_unavailable',
    `The HSM wrapped a key to ${written} bytes instead of ${expected}: check its module and firmware.`,
  );
}

/**
 * Gives `decrypt` secret memory of `room` bytes (some modules want as much as their input before they look at its tag),
 * and gives back the part of it that `decrypt` says was written, which the caller wipes. Whatever else was in there is
 * wiped. Throws hsm_refused where that is nothing or, unless it is undefined, not `length`; and what `decrypt` throws.
 */
export function openInto(
  room: number,
  length: number | undefined,
  decrypt: (into: Buffer) => Buffer,
): Buffer {
  const into = allocateSecret(room);
  let written = 0;
  try {
    written = decrypt(into).length;
  } finally {
    into.fill(0, written);
  }
  if (written > 0 && written === (length ?? written)) return into.subarray(0, written);
  into.fill(0);
  throw new SallyportError('hsm_refused', 'The wrapped key opened to a length that it cannot have.');
}
