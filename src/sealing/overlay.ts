import { createDecipheriv } from 'node:crypto';

const NO_KEY = Buffer.alloc(32);
const NO_NONCE = Buffer.alloc(12);
let nothing = Buffer.alloc(4096);

/**
 * Call it right after a decipher's `update` that gave `length` bytes. Node decrypts into a block one byte longer, copies
 * that and frees it unwiped, and glibc does not overwrite what it frees into its small caches: the plaintext stays there
 * until something of that size comes (measured: 1 copy of a credential; 0 with this). This is something of that size.
 */
export function overlayDecrypted(length: number): void {
  if (nothing.length < length) nothing = Buffer.alloc(length);
  createDecipheriv('aes-256-gcm', NO_KEY, NO_NONCE, { authTagLength: 16 }).update(
    nothing.subarray(0, length),
  );
}
