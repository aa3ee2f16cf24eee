import net from 'node:net';
import type tls from 'node:tls';
import { SallyportError } from '../errors.ts';
import type { AddressGuard } from './address-guard.ts';
import { type Dialling, dial } from './dial.ts';
import { timedOut, unreachable } from './failures.ts';
import { bareHost, type Resolver } from './resolve.ts';
import { openSecure, type SecureTarget, secureFailure, whenSecure } from './secure.ts';
import { checkName } from './special-names.ts';
import { until } from './until.ts';

/** A proxy that leads out: each connection is a CONNECT of its own. */
export interface WayOut {
  readonly host: string;
  readonly port: number;
  /** A connection to that host and port, which resolves its name. May be paused. Throws upstream_unreachable, the signal's reason. */
  connect(
    to: { readonly host: string; readonly port: number },
    attemptDelayMs: number,
    signal: AbortSignal,
  ): Promise<net.Socket>;
}

export interface ConnectorOptions {
  readonly guard: AddressGuard;
  readonly resolver: Resolver;
  /** For name, TCP and TLS together. */
  readonly timeoutMs: number;
  /** RFC 8305, 5: how long one address is tried alone before the next one joins. */
  readonly attemptDelayMs?: number;
  /** Through which connections go out. */
  readonly proxy?: WayOut | undefined;
}

/** Where a connection is to lead, and for whom. */
export interface Destination {
  /** As the agent asked for it. */
  readonly host: string;
  readonly port: number;
  readonly agent: string;
  /** For name, TCP and TLS together, where it differs from ConnectorOptions. */
  readonly timeoutMs?: number | undefined;
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
   * Throws `upstream_unresolved`, `address_forbidden`, `upstream_unreachable`, `client_certificate_refused`,
   * `upstream_untrusted` (certificate or name), `upstream_timeout`, `rate_limited`; the signal's reason where it was aborted.
   */
  connect(target: Target, signal?: AbortSignal): Promise<tls.TLSSocket> {
    const named = { ...target, host: bareHost(target.host) };
    return this.#within(signal, target, async (stop) => {
      const tunnel = await this.#throughProxy(named, stop);
      if (tunnel) return whenSecure(openSecure(named, { socket: tunnel }), named, stop);
      return this.#dial(stop, named, {
        ...named,
        ready: 'secureConnect',
        open: (host, port) => openSecure(named, { host, port }),
        refusal: (socket, error) => secureFailure(named, socket, error),
      });
    });
  }

  /** The same without TLS: nothing says whose the other end is. May be paused. */
  connectPlain(to: Destination, signal?: AbortSignal): Promise<net.Socket> {
    const named = { ...to, host: bareHost(to.host) };
    return this.#within(signal, to, async (stop) => {
      const tunnel = await this.#throughProxy(named, stop);
      if (tunnel) return tunnel;
      return this.#dial(stop, named, {
        ...named,
        ready: 'connect',
        open: (host, port) => net.connect({ host, port, allowHalfOpen: true }),
        refusal: (_socket, error) => unreachable(named, error),
      });
    });
  }

  /** Runs `connect` for `timeoutMs` at most. */
  async #within<T>(
    signal: AbortSignal | undefined,
    to: Destination,
    connect: (stop: AbortSignal) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    const timeoutMs = to.timeoutMs ?? this.#options.timeoutMs;
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(timedOut(to, timeoutMs)), timeoutMs);
    const onAbort = (): void => stop.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return await connect(stop.signal);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async #dial<S extends net.Socket>(stop: AbortSignal, to: Destination, dialling: Dialling<S>): Promise<S> {
    const { guard, resolver, attemptDelayMs = ATTEMPT_DELAY_MS } = this.#options;
    const found = await until(stop, resolver.resolve(to.host, to.port, to.agent));
    for (const { address } of found.addresses) guard.check(address, found.port);
    return dial(dialling, found.addresses, found.port, attemptDelayMs, stop);
  }

  /**
   * Undefined where no proxy stands between: for what `--upstream-resolve` names, and what `--upstream-allow` does. The
   * proxy resolves names, so that of their addresses only those can be checked that are known here: a literal's, and
   * the hosts file's.
   */
  async #throughProxy(to: Destination, stop: AbortSignal): Promise<net.Socket | undefined> {
    const { guard, resolver, proxy, attemptDelayMs = ATTEMPT_DELAY_MS } = this.#options;
    if (!proxy || resolver.isOverridden(to.host, to.port)) return undefined;
    const known = resolver.known(to.host) ?? [];
    if (known.length > 0 && known.every(({ address }) => guard.allows(address))) return undefined;
    for (const { address } of known) guard.check(address, to.port);
    checkName(to.host);
    if (to.host === bareHost(proxy.host) && to.port === proxy.port) throw proxyItself();
    return proxy.connect(to, attemptDelayMs, stop);
  }
}

function proxyItself(): SallyportError {
  const message = "That is the proxy that leads out, which is nobody's server. Use another host.";
  return new SallyportError('address_forbidden', message);
}
