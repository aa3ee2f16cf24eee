import type { Certificates } from './certificates.ts';

/** The upstream of every peer, and what each of them has to put into a request for it. */
export const HOST = 'api.bench.test';
export const CREDENTIAL = 'bench-credential-0123456789abcdef0123456789abcdef';
export const AUTHORIZATION = `Bearer ${CREDENTIAL}`;

/** What a peer is given to start with. */
export interface Setting {
  /** A folder of its own, which does not exist yet. */
  readonly folder: string;
  /** The upstream's port on the loopback address, and its certificates. */
  readonly upstreamPort: number;
  readonly certificates: Certificates;
}

/** Where the load is sent. */
export interface Target {
  /** Port on the loopback address. */
  readonly port: number;
  /** PEM file with the roots for what answers as HOST. */
  readonly roots: string;
  /** HOST and port to ask for with CONNECT; undefined: TLS begins at once. */
  readonly tunnel?: string;
  /** `user:password` for the proxy. */
  readonly user?: string;
  /** A field that the load itself adds. */
  readonly field?: string;
}

/** A running peer. */
export interface Peer {
  readonly name: string;
  readonly version: string;
  readonly target: Target;
  /** The process whose CPU time, with that of all its descendants, is the peer's; undefined for none. */
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

export type StartPeer = (setting: Setting) => Promise<Peer>;
