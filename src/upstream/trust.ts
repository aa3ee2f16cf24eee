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
  /**
   * A context that shows a client certificate besides: its chain and its private key, in one PEM text. Some 7 ms (measured), the
   * system's roots being read anew. Throws `credential_missing` where the text is no such pair.
   */
  showing(identity: Buffer): tls.SecureContext;
}

/**
 * Parses the roots, once for all connections: the system's take many milliseconds. An empty list is no default:
 * Node's own roots are not trusted unless they are given. Throws `invalid_settings` where `extra` holds anything that
 * is no certificate: OpenSSL would stop reading there and say nothing.
 */
export function createTrust({ system, extra }: TrustedRoots): Trust {
  try {
    checkCertificates(extra);
    const options = {
      ca: [system, extra].filter((pem) => pem.trim() !== ''),
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.3',
      // Node verifies after the first handshake alone: a second one could bring in any certificate.
      secureOptions: crypto.constants.SSL_OP_NO_RENEGOTIATION,
    } as const;
    return {
      secureContext: tls.createSecureContext(options),
      sessions: new Sessions(),
      showing: (identity) => createShowing(options, identity),
    };
  } catch (cause) {
    throw new SallyportError(
      'invalid_settings',
      'The certificates to trust for upstreams cannot be read; give --upstream-ca a file of PEM certificates.',
      { cause },
    );
  }
}

function createShowing(options: tls.SecureContextOptions, identity: Buffer): tls.SecureContext {
  try {
    return tls.createSecureContext({ ...options, key: identity, cert: identity });
  } catch {
    // Without the cause: OpenSSL may quote what it read.
    throw new SallyportError(
      'credential_missing',
      'The credential is no client certificate with its private key in PEM: tell the owner to set it again.',
    );
  }
}

function checkCertificates(pem: string): void {
  const blocks = pem.match(/-----BEGIN [^-]+-----[^-]*-----END [^-]+-----/g) ?? [];
  if (blocks.length === 0 && pem.trim() !== '') throw new TypeError('no PEM block');
  for (const block of blocks) new crypto.X509Certificate(block);
}
