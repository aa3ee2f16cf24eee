import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { rootCertificates } from 'node:tls';
import { SallyportError } from '../src/errors.ts';
import { readPem, toPem } from './pem.ts';

/** Where systems keep the roots that they trust: Debian and Alpine, Fedora, BSD and macOS, SUSE. */
export const SYSTEM_BUNDLES: readonly string[] = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/cert.pem',
  '/etc/ssl/ca-bundle.pem',
];

export interface BundleParts {
  /**
   * Files that may hold what the client has trusted so far, first choice first: the one that its variable names, then
   * SYSTEM_BUNDLES. The first that exists and holds certificates is taken.
   */
  readonly base: readonly string[];
  /** PEM of the agent's CA. */
  readonly add: string;
}

/**
 * One PEM bundle of what a client trusted before and the agent's CA, each certificate once. Most variables replace a
 * client's roots: with the agent's CA alone, every host that is tunnelled and not terminated would fail.
 * Throws not_found where no base is there, invalid_argument where `add` holds no certificate or something else.
 */
export function buildBundle({ base, add }: BundleParts): string {
  const own = readPem(add);
  if (own.length === 0 || !own.every(isCertificate)) {
    throw new SallyportError(
      'invalid_argument',
      'The CA to add is no PEM certificate: fetch it with `sallyport agent ca NAME`.',
    );
  }
  const trusted = firstBundle(base);
  if (trusted === null) {
    throw new SallyportError(
      'not_found',
      `None of ${base.join(', ')} holds certificates: install ca-certificates, or set SSL_CERT_FILE to the file that your programs trust.`,
    );
  }
  const seen = new Set<string>();
  const kept = [...trusted, ...own].filter((der) => {
    const key = der.toString('latin1');
    return seen.has(key) ? false : seen.add(key);
  });
  return kept.map(toPem).join('');
}

/** PEM of the roots that this system trusts; those that Node was built with where it has no bundle. */
export function systemRoots(bundles: readonly string[] = SYSTEM_BUNDLES): string {
  const roots = firstBundle(bundles);
  return roots === null ? `${rootCertificates.join('\n')}\n` : roots.map(toPem).join('');
}

function firstBundle(paths: readonly string[]): Buffer[] | null {
  for (const path of paths) {
    const certificates = readPem(readIfThere(path) ?? '');
    if (certificates.length > 0) return certificates;
  }
  return null;
}

/** Null where there is no such file; any other failure is the caller's to see. */
function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) {
      return null;
    }
    const why = error instanceof Error ? error.message : String(error);
    throw new SallyportError('invalid_argument', `The CA bundle ${path} cannot be read (${why}).`, {
      cause: error,
    });
  }
}

function isCertificate(der: Buffer): boolean {
  try {
    new X509Certificate(der);
    return true;
  } catch {
    return false;
  }
}
