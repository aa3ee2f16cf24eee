import tls from 'node:tls';
import type { Service } from '../../catalog/service.ts';
import { SallyportError } from '../../errors.ts';
import { rinseSmallBlocks } from '../../sealing/rinse.ts';
import { certificateFields, type SecretValue } from './values.ts';

/**
 * Throws invalid_credential where a field that connections show as their client certificate is no certificate with its own private key
 * in PEM: better now than at the first request.
 */
export function checkClientPair(service: Service, secrets: readonly SecretValue[]): void {
  const shown = certificateFields(service);
  for (const { name, value } of secrets) {
    if (shown.includes(name) && !isPair(value)) {
      const message = `The field ${name} of ${service.id} is no client certificate with its private key: give both, unencrypted, in one PEM text.`;
      throw new SallyportError('invalid_credential', message);
    }
  }
}

/** OpenSSL compares the two. What it has read is freed at once. */
function isPair(pem: Buffer): boolean {
  try {
    const { context } = tls.createSecureContext({ key: pem, cert: pem });
    const native: { close(): void } = context;
    native.close();
    return true;
  } catch {
    return false;
  } finally {
    rinseSmallBlocks();
  }
}
