import { createPublicKey, hash } from 'node:crypto';
import { SallyportError } from '../../errors.ts';
import { bits, type Node, oid, sequence } from './der.ts';

/** What every SubjectPublicKeyInfo of an uncompressed P-256 point begins with (RFC 5480, 2). */
const PREFIX = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex');
const SPKI_BYTES = 91;

/**
 * The point (65 bytes) within a P-256 SubjectPublicKeyInfo in DER. A worker hands it in, so that only the one
 * encoding is taken, and only a point on the curve. Throws bad_request.
 */
export function readPublicKey(spki: Buffer): Buffer {
  const point = spki.subarray(PREFIX.length);
  if (spki.length !== SPKI_BYTES || !spki.subarray(0, PREFIX.length).equals(PREFIX) || point[0] !== 4) {
    throw refused();
  }
  try {
    createPublicKey({ key: spki, format: 'der', type: 'spki' });
  } catch {
    throw refused(); // OpenSSL's only objection left: the point is not on the curve
  }
  return point;
}

/** The SubjectPublicKeyInfo of a point. */
export function publicKeyInfo(point: Buffer): Node {
  return sequence(sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7')), bits(point));
}

/** Key identifier: the first 160 bits of the point's SHA-256 (RFC 7093, 2, method 1). */
export function keyIdentifier(point: Buffer): Buffer {
  return hash('sha256', point, 'buffer').subarray(0, 20);
}

function refused(): SallyportError {
  return new SallyportError(
    'bad_request',
    'The public key for a certificate is not an uncompressed point of P-256. Make a P-256 key and ask again.',
  );
}
