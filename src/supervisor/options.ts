import type { WorkerSettings } from '../channel/messages/worker.ts';
import type { Installation } from './installation.ts';

export const ISOLATIONS = ['auto', 'uid', 'bubblewrap', 'copy', 'none'] as const;
export type IsolationChoice = (typeof ISOLATIONS)[number];

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** The listener that speaks TLS. */
export interface ProxyTls {
  readonly listen: Address;
  /** For its own certificate. */
  readonly names: readonly string[];
  /** A given certificate (PEM chain) and the file of its key; null: an own one. */
  readonly given: { readonly certificate: string; readonly keyFile: string } | null;
}

/** What `serve` was told, parsed and with its defaults filled in. */
export interface ServeOptions {
  /** Absolute path of the data folder that `init` made. */
  readonly data: string;
  readonly installation: Installation;
  readonly pinFile: string;
  readonly workers: number;
  readonly keyholders: number;
  /** Null: no one in particular. */
  readonly keyholderUser: string | null;
  readonly isolation: IsolationChoice;
  readonly proxyListen: Address;
  /** Null: no listener with TLS. */
  readonly proxyTls: ProxyTls | null;
  readonly apiListen: Address;
  /** PEM added to the system's roots; empty: nothing added. */
  readonly upstreamCa: string;
  readonly systemCa: string;
  readonly upstreamResolve: WorkerSettings['upstreamResolve'];
  readonly upstreamAllow: readonly string[];
  readonly upstreamProxy: WorkerSettings['upstreamProxy'];
  /** Null: the proxy asks for no password. */
  readonly upstreamProxyPasswordFile: string | null;
  readonly keepVersions: number;
  readonly hotSecrets: WorkerSettings['hotSecrets'];
  readonly limits: WorkerSettings['limits'];
}
