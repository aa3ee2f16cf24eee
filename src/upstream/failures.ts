import net from 'node:net';
import { SallyportError } from '../errors.ts';

interface Destination {
  readonly host: string;
  readonly port: number;
}

const CLIENT_ALERT =
  /^ERR_SSL_.*ALERT_((?:BAD|UNSUPPORTED)_CERTIFICATE|CERTIFICATE_(?:REVOKED|EXPIRED|UNKNOWN|REQUIRED)|UNKNOWN_CA|ACCESS_DENIED)$/;

export function timedOut(target: Destination, timeoutMs: number): SallyportError {
  return new SallyportError(
    'upstream_timeout',
    `${describe(target)} could not be connected to within ${timeoutMs} ms. Try again later.`,
  );
}

export function untrusted(target: Destination, why: string, cause?: Error): SallyportError {
  return new SallyportError(
    'upstream_untrusted',
    `The certificate of ${describe(target)} was not accepted: ${clean(why)}. Nothing was sent; whoever runs the proxy can trust another authority with --upstream-ca.`,
    { cause },
  );
}

/**
 * What a server means by a TLS alert about the client's certificate (RFC 8446, 6.2), which with TLS 1.3 arrives when the handshake is
 * over; undefined for every other error.
 */
export function clientRefused(error: Error): SallyportError | undefined {
  const code = 'code' in error ? String(error.code) : '';
  const [, alert] = CLIENT_ALERT.exec(code) ?? [];
  if (alert === undefined) return undefined;
  const message = `The server lets in clients with a certificate that it knows, and said of ours: ${alert.toLowerCase().replaceAll('_', ' ')}. Ask the owner to set the credential anew, or to have the server trust it.`;
  return new SallyportError('client_certificate_refused', message, { cause: error });
}

export function unreachable(target: Destination, error: Error): SallyportError {
  return new SallyportError(
    'upstream_unreachable',
    `No connection to ${describe(target)}: ${clean(reason(error))}. Check the host and port, or try again later.`,
    { cause: error },
  );
}

/** The short code where there is one: it says what happened and leaves out the addresses of the network. */
function reason(error: Error): string {
  if ('reason' in error && typeof error.reason === 'string') return error.reason;
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
}

/** A certificate's names are the server's words: one bounded line of printable characters. */
function clean(text: string): string {
  return text
    .slice(0, 300)
    .replace(/[^\x20-\x7e]+/g, ' ')
    .replace(/\.$/, '');
}

function describe({ host, port }: Destination): string {
  return net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}
