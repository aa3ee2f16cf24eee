import { allocateSecret } from '../../secret-buffer.ts';
import { base64url } from './base64.ts';

/** A key that signs JWTs: in memory, for the length of a lease, or in the HSM. */
export interface SigningKey {
  readonly algorithm: 'RS256' | 'ES256';
  /** The signature as JWS wants it (RFC 7518, 3.3 and 3.4): PKCS #1 v1.5, or r‖s. Throws exchange_refused, hsm_unavailable. */
  sign(input: Buffer): Promise<Buffer>;
}

/** A JWT in JWS compact form (RFC 7515, 7.1), in memory that the caller wipes: until it expires it is as good as a token. */
export async function signJwt(
  header: Readonly<Record<string, string>>,
  claims: Readonly<Record<string, unknown>>,
  key: SigningKey,
): Promise<Buffer> {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value), 'utf8').toString('base64url');
  const input = Buffer.from(
    `${part({ alg: key.algorithm, typ: 'JWT', ...header })}.${part(claims)}`,
    'latin1',
  );
  const signature = await key.sign(input);
  const encoded = base64url(signature);
  try {
    const jwt = allocateSecret(input.length + 1 + encoded.length);
    input.copy(jwt);
    jwt[input.length] = 0x2e;
    encoded.copy(jwt, input.length + 1);
    return jwt;
  } finally {
    signature.fill(0);
    encoded.fill(0);
  }
}
