import type net from 'node:net';
import type { Duplex } from 'node:stream';
import type tls from 'node:tls';
import type { AddressGuard } from '../../upstream/address-guard.ts';
import { Connector, type Destination } from '../../upstream/connect.ts';
import { unreachable } from '../../upstream/failures.ts';
import type { Resolver } from '../../upstream/resolve.ts';
import type { TrustedRoots } from '../../upstream/trust.ts';
import { ServerSessions } from '../h2/server-sessions.ts';
import { ServerStream } from '../h2/server-stream.ts';
import type { ClientIdentity } from './client-contexts.ts';
import { UpstreamConnection } from './connection.ts';
import { IdleConnections } from './idle-connections.ts';
import { Incoming } from './incoming.ts';
import { keyText, type UpstreamKey } from './key.ts';
import type { OutboundProxy } from './outbound-proxy.ts';
import { draining, type Origin, originOf, VerifiedConnections } from './verified.ts';

export interface PoolLimits {
  /** How long a connection may be idle; servers close theirs after 60 s and more. */
  readonly idleTimeoutMs: number;
  /** After this age it is used for no further request, so that changes of addresses and certificates take hold. */
  readonly maxAgeMs: number;
  /** Idle connections of all keys together. */
  readonly maxIdle: number;
}

export interface PoolOptions {
  readonly connect: { readonly timeoutMs: number; readonly attemptDelayMs?: number };
  readonly ca: TrustedRoots;
  readonly guard: AddressGuard;
  readonly resolver: Resolver;
  readonly proxy?: OutboundProxy | undefined;
  readonly limits?: Partial<PoolLimits>;
  /** How long the keys of client certificates are kept, in ms: as hot secrets. */
  readonly keyAgeMs?: number;
}

const KEY_AGE_MS = 5 * 60_000;
const DEFAULTS: PoolLimits = { idleTimeoutMs: 60_000, maxAgeMs: 10 * 60_000, maxIdle: 4096 };

/** The worker's connections to servers: idle ones for the asking, new ones resumed where the server allows. */
export class UpstreamPool {
  readonly #connector: Connector;
  readonly #limits: PoolLimits;
  readonly #idle: IdleConnections;
  readonly #open = new Map<UpstreamConnection, Origin>();
  readonly #http2: ServerSessions<Origin>;
  readonly #verified: VerifiedConnections;
  #closed = false;

  constructor(options: PoolOptions) {
    this.#connector = new Connector({
      ...options.connect,
      guard: options.guard,
      resolver: options.resolver,
      proxy: options.proxy,
    });
    this.#limits = { ...DEFAULTS, ...options.limits };
    this.#idle = new IdleConnections(this.#limits.idleTimeoutMs, this.#limits.maxIdle);
    this.#http2 = new ServerSessions(this.#limits);
    this.#verified = new VerifiedConnections(this.#connector, options.ca, options.keyAgeMs ?? KEY_AGE_MS);
  }

  /** Connections that nobody uses now. */
  get idleCount(): number {
    return this.#idle.size;
  }

  /** All connections now, idle or in use. */
  get openCount(): number {
    return this.#open.size;
  }

  /** An idle connection of the key, or undefined: then `open` one. Costs no I/O. */
  takeIdle(key: UpstreamKey): UpstreamConnection | undefined {
    const text = keyText(key);
    for (;;) {
      const connection = this.#idle.take(text);
      if (!connection) return undefined;
      if (connection.isSound && this.#isYoung(connection)) {
        connection.reused = true;
        return connection;
      }
      connection.destroy();
    }
  }

  /**
   * A new connection. `identity`: the client certificate that it shows, a view that lasts as long as this takes. Throws what
   * VerifiedConnections.connect does; `draining` once the pool is closed.
   */
  async open(key: UpstreamKey, signal?: AbortSignal, identity?: ClientIdentity): Promise<UpstreamConnection> {
    if (this.#closed) throw draining();
    const origin = originOf(key);
    if (key.plain) return this.#adopt(await this.#connector.connectPlain(key, signal), origin, key);
    if (key.http2) return this.#openStream(key, key.http2, origin, identity);
    const incoming = new Incoming();
    const socket = await this.#verified.connect(key, origin, { incoming, signal, identity });
    return this.#adopt(socket, origin, key, incoming);
  }

  /** A request's place on a connection that it shares: nobody's abort ends the opening for the others. */
  async #openStream(
    key: UpstreamKey,
    sensitive: readonly string[],
    origin: Origin,
    identity: ClientIdentity | undefined,
  ): Promise<UpstreamConnection> {
    const connect = (): Promise<tls.TLSSocket> => this.#verified.connect(key, origin, { identity });
    const opened = await this.#http2.open(origin.text, sensitive, origin, connect);
    const connection = this.#adopt(opened.stream, opened.origin, key);
    connection.reused = opened.reused;
    return connection;
  }

  /** A connection of its own, for bytes that are passed on unseen. Throws like `open`. */
  async openPassage(to: Destination, signal?: AbortSignal): Promise<net.Socket> {
    if (this.#closed) throw draining();
    return this.#connector.connectPlain(to, signal);
  }

  /**
   * Trusts other roots from now on. Nothing verified under the old ones is used again: idle connections close, those
   * in use close when they are released, sessions are wiped. Throws `invalid_settings`, and changes nothing then.
   */
  retrust(ca: TrustedRoots): void {
    this.#verified.retrust(ca);
    this.#retire(() => true);
  }

  /**
   * Closes what credentials have authenticated that `isKept` does not keep: idle connections now, others at their release.
   */
  retain(isKept: (identity: string) => boolean): void {
    this.#retire((origin) => !isKept(origin.identity));
    this.#verified.retain(isKept);
  }

  /** Closes every connection, those in use too, whose handlers are told; opens no more. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#open.keys()) connection.socket.destroy();
    this.#http2.close();
    this.#verified.close();
  }

  #adopt(socket: Duplex, origin: Origin, key: UpstreamKey, incoming?: Incoming): UpstreamConnection {
    if (socket.destroyed) throw unreachable(key, new Error('the server closed it at once'));
    const connection = new UpstreamConnection(
      socket,
      (released) => this.#keep(released, origin),
      (gone) => {
        this.#idle.remove(gone);
        this.#open.delete(gone);
      },
      incoming,
    );
    this.#open.set(connection, origin);
    return connection;
  }

  #keep(connection: UpstreamConnection, origin: Origin): void {
    const isOnce = connection.socket instanceof ServerStream;
    if (isOnce || origin.retired || this.#closed || !this.#isYoung(connection)) connection.destroy();
    else this.#idle.put(origin.text, connection);
  }

  #isYoung(connection: UpstreamConnection): boolean {
    const origin = this.#open.get(connection);
    return origin !== undefined && performance.now() - origin.openedAt < this.#limits.maxAgeMs;
  }

  #retire(isMeant: (origin: Origin) => boolean): void {
    for (const [connection, origin] of this.#open) {
      if (!isMeant(origin)) continue;
      origin.retired = true;
      this.#idle.discard(connection);
    }
    this.#http2.retire(isMeant);
  }
}
