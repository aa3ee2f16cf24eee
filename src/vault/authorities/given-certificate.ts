import tls from 'node:tls';
import { SallyportError } from '../../errors.ts';

/**
 * Throws invalid_settings where a certificate (PEM chain) and a private key (PEM) given for the TLS listener cannot be
 * used together: said once here, before any worker is started with them.
 */
export function checkGivenCertificate(certificate: string, key: Buffer): void {
  try {
    tls.createSecureContext({ cert: certificate, key });
  } catch (cause) {
    const message =
      'The certificate of --proxy-tls-cert and the key of --proxy-tls-key cannot be used: give PEM files that belong together, the key without a passphrase.';
    throw new SallyportError('invalid_settings', message, { cause });
  }
}
