import { createPublicKey, hash, verify } from 'node:crypto';
import { z } from 'zod';
import { SallyportError } from '../errors.ts';

/*
 * A backup is one file: three lines, then bytes.
 *
 *   sallyport backup 1
 *   the manifest, JSON
 *   ECDSA P-256/SHA-256 signature (r‖s, hex) of the HSM's audit key over the two lines before, newlines included
 *   the database, then (where the manifest has one) the sealed token: see seal-token.ts
 *
 * The manifest holds the SHA-256 of both, so the signature covers the whole file. Sealed rows stay sealed: without the
 * HSM nothing in it opens.
 */
const TITLE = 'sallyport backup 1\n';
/** No head of ours is longer. */
export const MAX_HEAD_BYTES = 128 * 1024;
const MAX_BYTES = 64 * 1024 * 1024 * 1024;

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);
export const BackupPart = z.strictObject({ bytes: z.number().int().min(1).max(MAX_BYTES), sha256: Sha256 });
export type BackupPart = z.infer<typeof BackupPart>;
const Count = z.number().int().min(0);

export const Manifest = z.strictObject({
  format: z.literal(1),
  /** RFC 3339, UTC. */
  created: z.string().max(64),
  version: z.string().max(64),
  /** The state of the policy, as the HSM's anchor named it. */
  state: z.strictObject({ counter: Count, digest: Sha256 }),
  /** How many there are, removed ones left out. */
  holds: z.strictObject({ agents: Count, credentials: Count, grants: Count }),
  /** Uncompressed P-256 point, hex: what signed this. */
  auditPublicKey: z.string().regex(/^04[0-9a-f]{128}$/),
  /** `sallyport.json`, as text. */
  installation: z.string().max(32 * 1024),
  database: BackupPart,
  token: BackupPart.nullable(),
});
export type Manifest = z.infer<typeof Manifest>;

/** The bytes that are signed: the first two lines. */
export function signedHead(manifest: Manifest): Buffer {
  return Buffer.from(`${TITLE}${JSON.stringify(manifest)}\n`, 'utf8');
}

/** All three lines. `signature`: 64 bytes. */
export function encodeHead(signed: Buffer, signature: Buffer): Buffer {
  return Buffer.concat([signed, Buffer.from(`${signature.toString('hex')}\n`, 'latin1')]);
}

/**
 * Reads the lines at the start of `bytes` and checks their signature by the key that the manifest names: whether that
 * is the right key is the caller's to know. `length`: of the lines. Throws backup_invalid.
 */
export function decodeHead(bytes: Buffer): { readonly manifest: Manifest; readonly length: number } {
  const second = bytes.indexOf(0x0a, TITLE.length);
  const third = bytes.indexOf(0x0a, second + 1);
  if (!bytes.subarray(0, TITLE.length).equals(Buffer.from(TITLE)) || second < 0 || third < 0)
    throw invalidBackup('it does not begin as a backup does');
  let manifest: Manifest;
  try {
    manifest = Manifest.parse(JSON.parse(bytes.toString('utf8', TITLE.length, second)));
  } catch (cause) {
    throw invalidBackup('its manifest is not one of this version', cause);
  }
  const signature = bytes.toString('latin1', second + 1, third);
  if (!/^[0-9a-f]{128}$/.test(signature)) throw invalidBackup('it has no signature');
  if (!isSigned(bytes.subarray(0, second + 1), Buffer.from(signature, 'hex'), manifest.auditPublicKey))
    throw invalidBackup('its signature does not fit: it was altered');
  return { manifest, length: third + 1 };
}

function isSigned(message: Buffer, signature: Buffer, point: string): boolean {
  const bytes = Buffer.from(point, 'hex');
  const x = bytes.toString('base64url', 1, 33);
  const y = bytes.toString('base64url', 33);
  try {
    const key = createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
    return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
  } catch {
    return false; // not a point of the curve
  }
}

/** How people compare keys: 16 bytes of the SHA-256 of the audit key's point, hex. */
export function fingerprint(auditPublicKey: string): string {
  return hash('sha256', Buffer.from(auditPublicKey, 'hex'), 'hex').slice(0, 32);
}

export function invalidBackup(why: string, cause?: unknown): SallyportError {
  return new SallyportError('backup_invalid', `The backup cannot be used: ${why}. Take another one.`, {
    cause,
  });
}
