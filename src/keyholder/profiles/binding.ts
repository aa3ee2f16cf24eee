import { timingSafeEqual } from 'node:crypto';
import { SallyportError } from '../../errors.ts';
import type { Cryptoki } from '../cryptoki.ts';
import { macs } from '../held-key.ts';
import { MAC_BYTES } from '../hmac.ts';
import type { Kek } from './profile.ts';

const PURPOSE = Buffer.from('sallyport wrap v1\0', 'latin1');
const OVERHEAD = 1 + MAC_BYTES;

/**
 * Ties a sealed DEK to its AAD where the wrapping mechanism takes none, and proves that it was wrapped here (whoever
 * knows a public key could wrap a DEK of his own under it): format (1) ‖ sealed ‖ tag (32), the tag being HMAC-SHA-256
 * of purpose ‖ format ‖ length of AAD (u32, big-endian) ‖ AAD ‖ sealed under the KEK version's own HMAC key.
 */
export function bind(token: Cryptoki, kek: Kek, format: number, sealed: Buffer, aad: Buffer): Buffer {
  const bound = Buffer.alloc(1 + sealed.length + MAC_BYTES);
  bound[0] = format;
  sealed.copy(bound, 1);
  tag(token, kek, format, sealed, aad).copy(bound, 1 + sealed.length);
  return bound;
}

/** The sealed DEK inside `bound`, which was bound to `aad`. Throws hsm_refused where anything differs. */
export function unbind(token: Cryptoki, kek: Kek, format: number, bound: Buffer, aad: Buffer): Buffer {
  if (bound[0] === format && bound.length > OVERHEAD) {
    const end = bound.length - MAC_BYTES;
    const sealed = bound.subarray(1, end);
    if (timingSafeEqual(tag(token, kek, format, sealed, aad), bound.subarray(end))) return sealed;
  }
  throw new SallyportError(
    'hsm_refused',
    'The wrapped key does not belong here: it was changed, or its context.',
  );
}

function tag(token: Cryptoki, kek: Kek, format: number, sealed: Buffer, aad: Buffer): Buffer {
  if (kek.bind === undefined) throw new TypeError(`the KEK ${kek.label} has no key to bind with`);
  const head = Buffer.alloc(5);
  head[0] = format;
  head.writeUInt32BE(aad.length, 1);
  const message = Buffer.concat([PURPOSE, head, aad, sealed]);
  const [made] = macs(token, kek.bind, [message]);
  if (!made) throw new TypeError('no HMAC was made');
  return made;
}
