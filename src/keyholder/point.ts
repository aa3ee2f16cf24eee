import { createPublicKey, ECDH, type KeyObject } from 'node:crypto';
import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { type Cryptoki, readAttribute } from './cryptoki.ts';

export const POINT_BYTES = 65;
const CURVE = 'prime256v1';

/**
 * The uncompressed P-256 point in CKA_EC_POINT: a DER OCTET STRING (PKCS #11 v2.40, 6.3.3), which some tokens leave
 * bare. Throws hsm_refused where it is neither.
 */
export function pointOf(attribute: Buffer): Buffer {
  const wrapped =
    attribute.length === POINT_BYTES + 2 && attribute[0] === 0x04 && attribute[1] === POINT_BYTES;
  const point = Buffer.from(wrapped ? attribute.subarray(2) : attribute);
  checkPoint(point);
  return point;
}

/** Throws hsm_refused unless `point` is an uncompressed point on P-256 (SEC 1, 2.3.4). */
export function checkPoint(point: Buffer): void {
  try {
    if (point.length !== POINT_BYTES || point[0] !== 0x04) throw new RangeError('not an uncompressed point');
    ECDH.convertKey(point, CURVE);
  } catch (cause) {
    throw new SallyportError(
      'hsm_refused',
      'The public key is no point on P-256: seal to the intake key again.',
      {
        cause,
      },
    );
  }
}

/** An RSA public key object as a key. Throws what the calls throw. */
export function rsaPublicKey(token: Cryptoki, object: Handle): KeyObject {
  const n = readAttribute(token, object, pkcs11.CKA_MODULUS).toString('base64url');
  const e = readAttribute(token, object, pkcs11.CKA_PUBLIC_EXPONENT).toString('base64url');
  return createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' });
}

/** The point as a key that verifies signatures. */
export function publicKeyOf(point: Buffer): KeyObject {
  const x = point.toString('base64url', 1, 33);
  const y = point.toString('base64url', 33, 65);
  return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
}
