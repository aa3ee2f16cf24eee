import type net from 'node:net';
import type { SallyportError } from '../errors.ts';
import { unreachable } from './failures.ts';
import type { ResolvedAddress } from './resolve.ts';

const KEEP_ALIVE_MS = 30_000;

/** What kind of connection is made, and when it is one. */
export interface Dialling<S extends net.Socket> {
  /** As asked for, for messages. */
  readonly host: string;
  readonly port: number;
  open(address: string, port: number): S;
  /** The socket's event with which it can be used. */
  readonly ready: 'connect' | 'secureConnect';
  /** What an error of a socket that had connected means. */
  refusal(socket: S, error: Error): SallyportError;
}

/**
 * Connects to the first of the addresses that accepts (RFC 8305, 5: each is given `attemptDelayMs` before the next joins
 * in; one that fails is followed at once) and waits there until it is ready. Node's own `autoSelectFamily` will not do:
 * it gives an attempt up after its delay, so that slow but sound addresses are never reached.
 *
 * Throws `upstream_unreachable`, what `refusal` makes of an error, the signal's reason. No socket outlives a failure.
 */
export function dial<S extends net.Socket>(
  dialling: Dialling<S>,
  found: readonly ResolvedAddress[],
  port: number,
  attemptDelayMs: number,
  signal: AbortSignal,
): Promise<S> {
  const addresses = interleave(found);
  return new Promise((resolve, reject) => {
    const attempts = new Set<S>();
    let next = 0;
    let timer: NodeJS.Timeout | undefined;
    let chosen: S | undefined;

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
      const socket = dialling.open(address, port);
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
      attempts.add(socket);
      // These stay: whoever takes the socket over learns of its end by `close`, after an error as well.
      socket.on('error', (error) => {
        attempts.delete(socket);
        if (socket === chosen) fail(dialling.refusal(socket, error));
        else if (chosen) return;
        else if (next < addresses.length) tryNext();
        else if (attempts.size === 0) fail(unreachable(dialling, error));
      });
      socket.once('connect', () => {
        chosen = socket;
        clearTimeout(timer);
        for (const other of attempts) if (other !== socket) other.destroy();
      });
      socket.once(dialling.ready, () => {
        end();
        resolve(socket);
      });
      if (next < addresses.length) timer = setTimeout(tryNext, attemptDelayMs);
    };

    if (addresses.length === 0) {
      reject(unreachable(dialling, new Error('it has no address')));
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

/** RFC 8305, 4: IPv6 first, then one of each family in turn, so that a broken family costs one attempt. */
function interleave(addresses: readonly ResolvedAddress[]): string[] {
  const six = addresses.filter(({ family }) => family === 6);
  const four = addresses.filter(({ family }) => family === 4);
  const ordered: string[] = [];
  for (let i = 0; i < Math.max(six.length, four.length); i++) {
    for (const next of [six[i], four[i]]) if (next) ordered.push(next.address);
  }
  return ordered;
}
