import { copySecret } from '../../secret-buffer.ts';
import { malformed } from './keyholder.ts';

/** A part lives only until its handler returns: this is what outlives it, in memory that can be wiped. */
export function copyOf(part: Buffer | undefined): Buffer {
  if (!part) throw malformed();
  return copySecret(part);
}
