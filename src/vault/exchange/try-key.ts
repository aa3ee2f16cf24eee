import { exchangeOf } from '../../catalog/exchange.ts';
import type { Service } from '../../catalog/service.ts';
import { SallyportError } from '../../errors.ts';
import type { SecretValue } from '../credentials/values.ts';
import { ALGORITHM, FINGERPRINT, firstPublic, type Material, signedBy } from './material.ts';

const KEYS = { RS256: 'an RSA private key in PEM', ES256: 'a P-256 private key in PEM' } as const;

/** Throws invalid_credential where a credential's private key is none that its service takes: better now than later. */
export async function tryKey(
  service: Service,
  publicFields: Material['publicFields'],
  secrets: readonly SecretValue[],
): Promise<void> {
  const exchange = exchangeOf(service);
  if (!exchange || !('key' in exchange)) return;
  if (exchange.kind === 'client-certificate') {
    const message = `The key of ${service.id} issues client certificates and is born in the HSM: make it with \`sallyport credential create ${service.id}\`.`;
    throw new SallyportError('invalid_credential', message);
  }
  const none = (): Promise<Buffer> => Promise.reject(new TypeError('a key in the HSM is not tried'));
  const material = { service, publicFields, secrets, credential: '', sign: none, publicKey: none };
  if (exchange.kind === 'key-pair-jwt' && firstPublic(material, FINGERPRINT) === undefined) {
    const message = `The field ${FINGERPRINT} of ${service.id} is missing: give it as the service shows it, or have the key made in the HSM (\`sallyport credential create\`).`;
    throw new SallyportError('invalid_credential', message);
  }
  try {
    const jwt = await signedBy(material, exchange, () => ({}));
    jwt.fill(0);
  } catch (cause) {
    const wanted =
      exchange.key === 'key_json' ? "a service account's JSON file" : KEYS[ALGORITHM[exchange.kind]];
    const message = `The field ${exchange.key} of ${service.id} is not ${wanted}: give it as the service gave it out.`;
    throw new SallyportError('invalid_credential', message, { cause });
  }
}
