import type tls from 'node:tls';
import { SallyportError } from '../../errors.ts';
import type { Connector } from '../../upstream/connect.ts';
import { lastUse } from '../../upstream/sessions.ts';
import { createTrust, type Trust, type TrustedRoots } from '../../upstream/trust.ts';
import { ClientContexts, type ClientIdentity } from './client-contexts.ts';
import type { Incoming } from './incoming.ts';
import { identityWithin, keyText, type UpstreamKey } from './key.ts';

/** What a connection was opened for. */
export interface Origin {
  readonly text: string;
  readonly identity: string;
  readonly openedAt: number;
  /** Set where the connection is to be used for no further request. */
  retired: boolean;
}

export function originOf(key: UpstreamKey): Origin {
  return { text: keyText(key), identity: key.identity, openedAt: performance.now(), retired: false };
}

export interface Connecting {
  /** For what it receives. */
  readonly incoming?: Incoming | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The client certificate that it shows: a view that lasts until the connection is there. */
  readonly identity?: ClientIdentity | undefined;
}

/** New TLS connections, verified against what is trusted now, resumed where the server allows. */
export class VerifiedConnections {
  readonly #connector: Connector;
  readonly #contexts: ClientContexts;
  #trust: Trust;
  #closed = false;

  /** `keyAgeMs`: how long keys of client certificates are kept. Throws `invalid_settings` where `ca` cannot be read. */
  constructor(connector: Connector, ca: TrustedRoots, keyAgeMs: number) {
    this.#connector = connector;
    this.#trust = createTrust(ca);
    this.#contexts = new ClientContexts(keyAgeMs, (identity) => this.#trust.showing(identity));
  }

  /** Throws what Connector.connect does; `credential_missing` for a bad identity; `draining` once these are closed. */
  async connect(key: UpstreamKey, origin: Origin, how: Connecting): Promise<tls.TLSSocket> {
    if (this.#closed) throw draining();
    const trust = this.#trust;
    const { identity } = how;
    const socket = identity
      ? await this.#contexts.with(key.identity, identity, (context) =>
          this.#connect(key, origin, how, context),
        )
      : await this.#connect(key, origin, how, trust.secureContext);
    if (!this.#closed && this.#trust === trust) return socket;
    socket.destroy();
    return this.connect(key, origin, how); // what was trusted has changed meanwhile
  }

  async #connect(
    key: UpstreamKey,
    origin: Origin,
    { incoming, signal }: Connecting,
    secureContext: tls.SecureContext,
  ): Promise<tls.TLSSocket> {
    const trust = this.#trust;
    const { text } = origin;
    let resumed = trust.sessions.take(text);
    const from = resumed;
    // A server may send tickets as long as the connection lives: those of a retired one are not kept.
    const onSession = (session: Buffer, validTo: number | undefined): void => {
      if (origin.retired || this.#trust !== trust || this.#closed) session.fill(0);
      else trust.sessions.put(text, { session, until: lastUse(validTo, from) });
    };
    const { host, port, agent, timeoutMs } = key;
    const protocol = key.http2 ? 'h2' : 'http/1.1';
    const session = resumed?.session;
    const onread = incoming?.onread;
    const to = { host, port, agent, timeoutMs, secureContext, protocol, session, onSession, onread } as const;
    try {
      const socket = await this.#connector.connect(to, signal);
      if (resumed && socket.isSessionReused() && socket.getProtocol() === 'TLSv1.2') {
        trust.sessions.put(text, resumed); // unlike a ticket of TLS 1.3, it serves many times
        resumed = undefined;
      }
      return socket;
    } finally {
      resumed?.session.fill(0);
    }
  }

  /** Trusts other roots from now on; sessions are wiped. Throws `invalid_settings`, and changes nothing then. */
  retrust(ca: TrustedRoots): void {
    const trust = createTrust(ca);
    this.#trust.sessions.clear();
    this.#trust = trust;
    this.#contexts.retain(() => false);
  }

  /** Wipes the sessions and keys of credentials that `isKept` does not keep. */
  retain(isKept: (identity: string) => boolean): void {
    this.#trust.sessions.retain((text) => isKept(identityWithin(text)));
    this.#contexts.retain(isKept);
  }

  /** Opens no more. */
  close(): void {
    this.#closed = true;
    this.#trust.sessions.clear();
    this.#contexts.retain(() => false);
  }
}

/** Nothing new is opened. */
export function draining(): SallyportError {
  return new SallyportError('draining', 'The proxy is shutting down; try again in a moment.');
}
