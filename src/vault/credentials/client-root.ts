import { toPem } from '../../../certs/pem.ts';
import { CLIENT_ROOT } from '../../../certs/profiles.ts';
import { certifyBy, commonName } from '../authorities/certificate.ts';
import { ecdsaSignature } from '../authorities/der.ts';
import { readPublicKey } from '../authorities/public-key.ts';

/**
 * The certificate (PEM) of the authority that a credential's P-256 key is: servers that trust it accept the client
 * certificates that the key issues. Made anew each time that it is shown; each is as good as another, for a verifier compares name
 * and key. `sign`: ECDSA with SHA-256, as r‖s. Throws what `sign` throws.
 */
export async function clientRoot(
  spki: Buffer,
  name: string,
  sign: (message: Buffer) => Promise<Buffer>,
): Promise<string> {
  const point = readPublicKey(spki);
  const { der } = await certifyBy(
    {
      profile: CLIENT_ROOT,
      subject: commonName(name),
      issuer: commonName(name),
      point,
      issuerPoint: point,
      now: Date.now(),
      notAfter: Number.MAX_SAFE_INTEGER,
    },
    async (message) => ecdsaSignature(await sign(message)),
  );
  return toPem(der);
}
