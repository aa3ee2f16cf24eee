import { CLIENT } from '../../../certs/profiles.ts';
import type { Exchange } from '../../catalog/exchange.ts';
import { allocateSecret } from '../../secret-buffer.ts';
import { certifyBy, commonName } from '../authorities/certificate.ts';
import { ecdsaSignature } from '../authorities/der.ts';
import { generateKeyPair } from '../authorities/key-pair.ts';
import { readPublicKey } from '../authorities/public-key.ts';
import type { TokenGiven } from './asking.ts';
import { firstPublic, type Material, missing, ownKey } from './material.ts';
import { pem } from './pem.ts';

/**
 * A client certificate with a key of its own, in one PEM text that the caller wipes. What signs it is the credential's key, an
 * authority whose certificate the server trusts (`credential create` shows it): it stays in the HSM, and what a worker holds is good for
 * an hour. Throws exchange_refused where the key is not in the HSM, hsm_unavailable, hsm_key_missing.
 */
export async function clientCertificate(
  exchange: Extract<Exchange, { kind: 'client-certificate' }>,
  material: Material,
  now: number,
): Promise<TokenGiven> {
  const label = ownKey(material, exchange);
  if (label === undefined) throw missing(material, 'key in the HSM');
  const issuerPoint = readPublicKey(await material.publicKey(label));
  const { privateKey, point } = generateKeyPair();
  try {
    const { der, notAfter } = await certifyBy(
      {
        profile: CLIENT,
        subject: commonName(firstPublic(material, 'common_name') ?? material.credential),
        issuer: commonName(label),
        point,
        issuerPoint,
        now,
        notAfter: Number.MAX_SAFE_INTEGER,
      },
      async (message) => ecdsaSignature(await material.sign(label, message)),
    );
    const [key, certificate] = [pem('PRIVATE KEY', privateKey), pem('CERTIFICATE', der)];
    const token = allocateSecret(key.length + certificate.length);
    certificate.copy(token, key.copy(token));
    key.fill(0);
    return { outcome: 'token', token, refreshToken: undefined, lifetimeMs: notAfter - now };
  } finally {
    privateKey.fill(0);
  }
}
