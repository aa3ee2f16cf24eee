import crypto from 'node:crypto';
import tls from 'node:tls';
import { SallyportError } from '../errors.ts';
import { Sessions } from './sessions.ts';

/** PEM certificates. Both empty: nothing is trusted. */
export interface TrustedRoots {
  /** The machine's own roots. */
  readonly system: string;
  /** What the operator adds with `--upstream-ca`. */
  readonly extra: string;
}

/** What is trusted, and the sessions that were verified against it, which go with it. */
export interface Trust {
  readonly secureContext: tls.SecureContext;
  readonly sessions: Sessions;
}

/**
 * Parses the roots, once for all connections: the system's take many milliseconds. An empty list is no default:
 * Node's own roots are not trusted unless they are given. Throws `invalid_settings` where `extra` holds anything that
 * is no certificate: OpenSSL would stop reading there and say nothing.
 */
export function createTrust({ system, extra }: TrustedRoots): Trust {
  try {
    checkCertificates(extra);
    const ca = [system, extra].filter((pem) => pem.trim() !== '');
    const secureContext = tls.createSecureContext({
      ca,
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.3',
      // Node verifies after the first handshake alone: a second one could bring in any certificate.
      secureOptions: crypto.constants.SSL_OP_NO_RENEGOTIATION,
    });
    return { secureContext, sessions: new Sessions() };
  } catch (cause) {
    throw new SallyportError(
      'invalid_settings',
      'The certificates to trust for upstreams cannot be read; give --upstream-ca a file of PEM certificates.',
      { cause },
    );
  }
}

function checkCertificates(pem: string): void {
  const blocks = pem.match(/-----BEGIN [^-]+-----[^-]*-----END [^-]+-----/g) ?? [];
  if (blocks.length === 0 && pem.trim() !== '') throw new TypeError('no PEM block');
  for (const block of blocks) new crypto.X509Certificate(block);
}
