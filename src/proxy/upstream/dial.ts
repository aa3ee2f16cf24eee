import net from 'node:net';
import tls from 'node:tls';
import type { SallyportError } from '../../errors.ts';
import type { Target } from './connect.ts';
import { unreachable, untrusted } from './failures.ts';

const KEEP_ALIVE_MS = 30_000;

/**
 * Connects to the first of `addresses` that accepts (RFC 8305, 5: each is given `attemptDelayMs` before the next joins
 * in; one that fails is followed at once) and shakes hands there. Node's own `autoSelectFamily` will not do: it gives
 * an attempt up after its delay, so that slow but sound addresses are never reached.
 *
 * Throws `upstream_unreachable`, `upstream_untrusted`, the signal's reason. No socket outlives a failure.
 */
export function dial(
  target: Target,
  addresses: readonly string[],
  port: number,
  attemptDelayMs: number,
  signal: AbortSignal,
): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const attempts = new Set<tls.TLSSocket>();
    let next = 0;
    let timer: NodeJS.Timeout | undefined;
    let chosen: tls.TLSSocket | undefined;

    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
    const fail = (error: unknown): void => {
      end();
      for (const attempt of attempts) attempt.destroy();
      reject(error);
    };
    const onAbort = (): void => fail(signal.reason);

    const tryNext = (): void => {
      clearTimeout(timer);
      const address = addresses[next++];
      if (address === undefined) return;
      const socket = open(target, address, port);
      attempts.add(socket);
      // These stay: whoever takes the socket over learns of its end by `close`, after an error as well.
      socket.on('error', (error) => {
        attempts.delete(socket);
        if (socket === chosen) fail(refusal(target, socket, error));
        else if (chosen) return;
        else if (next < addresses.length) tryNext();
        else if (attempts.size === 0) fail(unreachable(target, error));
      });
      socket.once('connect', () => {
        chosen = socket;
        clearTimeout(timer);
        for (const other of attempts) if (other !== socket) other.destroy();
      });
      socket.once('secureConnect', () => {
        end();
        resolve(socket);
      });
      if (next < addresses.length) timer = setTimeout(tryNext, attemptDelayMs);
    };

    if (addresses.length === 0) {
      reject(unreachable(target, new Error('it has no address')));
      return;
    }
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    tryNext();
  });
}

function open(target: Target, address: string, port: number): tls.TLSSocket {
  let validTo: number | undefined;
  const socket = tls.connect({
    host: address,
    port,
    secureContext: target.secureContext,
    rejectUnauthorized: true,
    // Without a name of its own, Node would verify the address that was dialled. Not called for a resumed session.
    checkServerIdentity: (_dialled, certificate) => {
      validTo = Date.parse(certificate.valid_to);
      return tls.checkServerIdentity(target.host, certificate);
    },
    ALPNProtocols: ['http/1.1'],
    ...(net.isIP(target.host) === 0 ? { servername: target.host } : {}),
    ...(target.session ? { session: target.session } : {}),
  });
  socket.on('session', (session: Buffer) => target.onSession(session, validTo));
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEP_ALIVE_MS);
  return socket;
}

function refusal(target: Target, socket: tls.TLSSocket, error: Error): SallyportError {
  // Set only where a certificate was looked at and found wanting.
  return socket.authorizationError ? untrusted(target, error.message, error) : unreachable(target, error);
}
