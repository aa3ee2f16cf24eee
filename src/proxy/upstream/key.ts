/** Whose connection: a connection serves only requests that agree in all of it. */
export interface UpstreamKey {
  /** A name in A-labels, lower case, or an IP literal. */
  readonly host: string;
  readonly port: number;
  /** What one agent left on a connection (its own login, a half-hidden request) never meets another's request. */
  readonly agent: string;
  /**
   * The credential version (`identityOf`): some servers authenticate a connection rather than a request (NTLM,
   * Negotiate), and would take a request without the credential, or under another one, for the first one's.
   */
  readonly identity: string;
  /** Without TLS; never the same connection as with it. */
  readonly plain?: boolean;
  /** Over HTTP/2; named: the fields that hold a credential, in lower case. */
  readonly http2?: readonly string[];
  /** keyText of it, where the key is kept for further requests. */
  readonly text?: string;
  /** Until it is there, in ms, where that is not as ever. It tells no connection from another. */
  readonly timeoutMs?: number | undefined;
}

/** The key as text, its identity first; no part contains a space. */
export function keyText({ host, port, agent, identity, plain, http2, text }: UpstreamKey): string {
  if (text !== undefined) return text;
  return `${identity} ${agent} ${host} ${port}${plain ? ' plain' : ''}${http2 ? ' h2' : ''}`;
}

/** Of a rule, whether or not it has a credential. */
export function identityOf({ credential, version }: { credential: string; version: number }): string {
  return `${credential}/${version}`;
}

/** The identity within a key's text. */
export function identityWithin(text: string): string {
  return text.slice(0, text.indexOf(' '));
}
