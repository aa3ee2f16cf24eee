import { createHash, randomBytes } from 'node:crypto';

/**
 * A new agent token: `spa_` and 256 random bits in base64url, and the SHA-256 of all of that (lower-case hex), which
 * is all that the vault learns. The token is a string because it is printed and handed to environments; it is no
 * credential of a service, and this process ends at once.
 */
export function newToken(): { readonly text: string; readonly hash: string } {
  const text = `spa_${randomBytes(32).toString('base64url')}`;
  return { text, hash: createHash('sha256').update(text, 'latin1').digest('hex') };
}
