import net from 'node:net';
import tls from 'node:tls';
import type { SallyportError } from '../errors.ts';
import { clientRefused, unreachable, untrusted } from './failures.ts';

/** Whom a TLS connection is to, and what it trusts. */
export interface SecureTarget {
  /** What the certificate must be of: a name without a trailing dot, or an IP literal without brackets. */
  readonly host: string;
  readonly port: number;
  readonly secureContext: tls.SecureContext;
  /** The protocol to ask for (ALPN). */
  readonly protocol?: 'http/1.1' | 'h2';
  /** Where what it receives goes instead of into its stream (net.connect's `onread`); only where it is a connection of its own. */
  readonly onread?: net.OnReadOpts | undefined;
  /** A session of an earlier, verified connection to this very target: resumed, it is not verified again. */
  readonly session?: Buffer | undefined;
  /**
   * Gets each session that a verified server offers, and until when its certificate is valid (ms since 1970);
   * undefined where this connection was itself resumed.
   */
  readonly onSession: (session: Buffer, validTo: number | undefined) => void;
}

/** Begins TLS with `target` at an address and port, or over a socket that leads there. */
export function openSecure(
  target: SecureTarget,
  to: { readonly host: string; readonly port: number } | { readonly socket: net.Socket },
): tls.TLSSocket {
  let validTo: number | undefined;
  const socket = tls.connect({
    ...to,
    secureContext: target.secureContext,
    ...(target.onread ? { onread: target.onread } : {}),
    rejectUnauthorized: true,
    // Without a name of its own, Node would verify the address that was dialled. Not called for a resumed session.
    checkServerIdentity: (_dialled, certificate) => {
      validTo = Date.parse(certificate.valid_to);
      return tls.checkServerIdentity(target.host, certificate);
    },
    ALPNProtocols: [target.protocol ?? 'http/1.1'],
    ...(net.isIP(target.host) === 0 ? { servername: target.host } : {}),
    ...(target.session ? { session: target.session } : {}),
  });
  socket.on('session', (session: Buffer) => target.onSession(session, validTo));
  return socket;
}

/** Resolves once a socket of openSecure is verified and ready. Throws upstream_untrusted, client_certificate_refused, upstream_unreachable, the signal's reason. */
export function whenSecure(
  socket: tls.TLSSocket,
  target: SecureTarget,
  signal: AbortSignal,
): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      reject(error);
    };
    const onAbort = (): void => fail(signal.reason);
    // It stays: whoever takes the socket over learns of its end by `close`, after an error as well.
    socket.on('error', (error) => fail(secureFailure(target, socket, error)));
    socket.once('close', () => fail(unreachable(target, new Error('the connection was closed'))));
    socket.once('secureConnect', () => {
      signal.removeEventListener('abort', onAbort);
      resolve(socket);
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** What an error of a socket of openSecure means, once it had connected. */
export function secureFailure(target: SecureTarget, socket: tls.TLSSocket, error: Error): SallyportError {
  // Set only where a certificate was looked at and found wanting.
  if (socket.authorizationError) return untrusted(target, error.message, error);
  return clientRefused(error) ?? unreachable(target, error);
}
