import { generateKeyPairSync } from 'node:crypto';

/** A new P-256 key: its private half in PKCS#8 DER, which its owner wipes, and its uncompressed point (65 bytes). */
export interface KeyPair {
  readonly privateKey: Buffer;
  readonly point: Buffer;
}

export function generateKeyPair(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync('ec', {
    namedCurve: 'prime256v1',
    privateKeyEncoding: { type: 'pkcs8', format: 'der' },
    publicKeyEncoding: { type: 'spki', format: 'der' },
  });
  return { privateKey, point: publicKey.subarray(-65) };
}
