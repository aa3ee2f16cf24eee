import net from 'node:net';
import type tls from 'node:tls';
import type { AddressGuard } from './address-guard.ts';
import { type Dialling, dial } from './dial.ts';
import { timedOut, unreachable } from './failures.ts';
import { bareHost, type ResolvedAddress, type Resolver } from './resolve.ts';
import { openSecure, type SecureTarget, secureFailure } from './secure.ts';

export interface ConnectorOptions {
  readonly guard: AddressGuard;
  readonly resolver: Resolver;
  /** For name, TCP and TLS together. */
  readonly timeoutMs: number;
  /** RFC 8305, 5: how long one address is tried alone before the next one joins. */
  readonly attemptDelayMs?: number;
}

/** Where a connection is to lead, and for whom. */
export interface Destination {
  /** As the agent asked for it. */
  readonly host: string;
  readonly port: number;
  readonly agent: string;
}

/** Whom to connect to with TLS. The certificate must be of `host`. */
export interface Target extends Destination, SecureTarget {}

const ATTEMPT_DELAY_MS = 250;

/** Opens connections to the servers that agents ask for. */
export class Connector {
  readonly #options: ConnectorOptions;

  constructor(options: ConnectorOptions) {
    this.#options = options;
  }

  /**
   * Resolves with a connected socket whose certificate is of `target.host`, verified. Every address that the name
   * resolves to is checked, and one that is forbidden refuses the name: a name that mixes them is a rebinding attack.
   * The addresses that were checked are those dialled.
   *
   * Throws `upstream_unresolved`, `address_forbidden`, `upstream_unreachable`, `upstream_untrusted` (certificate or
   * name), `upstream_timeout`, `rate_limited`; the signal's reason where it was aborted.
   */
  connect(target: Target, signal?: AbortSignal): Promise<tls.TLSSocket> {
    const named = { ...target, host: bareHost(target.host) };
    return this.#dial(signal, target, {
      ...named,
      ready: 'secureConnect',
      open: (host, port) => openSecure(named, { host, port }),
      refusal: (socket, error) => secureFailure(named, socket, error),
    });
  }

  /** The same without TLS: nothing says whose the other end is. */
  connectPlain(to: Destination, signal?: AbortSignal): Promise<net.Socket> {
    const named = { ...to, host: bareHost(to.host) };
    return this.#dial(signal, to, {
      ...named,
      ready: 'connect',
      open: (host, port) => net.connect({ host, port, allowHalfOpen: true }),
      refusal: (_socket, error) => unreachable(named, error),
    });
  }

  async #dial<S extends net.Socket>(
    signal: AbortSignal | undefined,
    to: Destination,
    dialling: Dialling<S>,
  ): Promise<S> {
    signal?.throwIfAborted();
    const { guard, resolver, timeoutMs, attemptDelayMs = ATTEMPT_DELAY_MS } = this.#options;
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(timedOut(to, timeoutMs)), timeoutMs);
    const onAbort = (): void => stop.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      const found = await until(stop.signal, resolver.resolve(to.host, to.port, to.agent));
      for (const { address } of found.addresses) guard.check(address, found.port);
      return await dial(dialling, interleave(found.addresses), found.port, attemptDelayMs, stop.signal);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }
}

/** The promise's outcome, or the signal's reason where that comes first. */
function until<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
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
