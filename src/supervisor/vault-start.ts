import { join } from 'node:path';
import type { z } from 'zod';
import type { VaultStart } from '../channel/messages/supervisor.ts';
import type { WorkerSecret, WorkerSettings } from '../channel/messages/worker.ts';
import type { Isolation } from './isolation/isolation.ts';
import type { Address, ServeOptions } from './options.ts';
import type { JournalEnd } from './previous-journal.ts';

/** Where we listen, ports chosen. */
export interface Listeners {
  readonly proxy: Address;
  /** Null: no listener with TLS. */
  readonly proxyTls: Address | null;
  readonly api: Address;
}

/** A secret that workers need as long as they run, and the file that it is in. */
export interface SecretFile {
  readonly secret: WorkerSecret;
  readonly file: string;
}

/** What a vault is told at its start; `files` are those of `secretFiles`, in their order. */
export function vaultStart(
  options: ServeOptions,
  isolation: Isolation,
  { proxy, proxyTls, api }: Listeners,
  previousJournal: JournalEnd | null,
  files: readonly SecretFile[],
): z.infer<typeof VaultStart> {
  const { upstreamResolve, upstreamAllow, upstreamProxy, upstreamCa, systemCa, hotSecrets, limits } = options;
  return {
    type: 'start',
    rendezvous: '/proc/self/fd/4/rendezvous.sock',
    control: '/proc/self/fd/4/control.sock',
    database: join(isolation.vaultFolder, 'sallyport.db'),
    api,
    keepVersions: options.keepVersions,
    keyholders: options.keyholders,
    previousJournal,
    authorityKeys: options.installation.authorityKeys,
    anchorFile: options.installation.anchor === 'file' ? join(isolation.vaultFolder, 'anchor') : null,
    isolation: isolation.name,
    worker: {
      listen: proxy,
      workers: options.workers,
      tlsListen: proxyTls && tlsListener(options, proxyTls),
      upstreamCa,
      systemCa,
      upstreamResolve,
      upstreamAllow: [...upstreamAllow],
      upstreamProxy,
      ownListeners: [proxy, api, ...(proxyTls ? [proxyTls] : [])],
      hotSecrets,
      limits,
    },
    secrets: files.map(({ secret }) => secret),
  };
}

/** What workers need as long as they run. Read anew for each vault: between two, nothing of it is kept here. */
export function secretFiles({ proxyTls, upstreamProxyPasswordFile }: ServeOptions): SecretFile[] {
  const files: SecretFile[] = [];
  if (proxyTls?.given) files.push({ secret: 'tlsKey', file: proxyTls.given.keyFile });
  if (upstreamProxyPasswordFile !== null)
    files.push({ secret: 'upstreamProxyPassword', file: upstreamProxyPasswordFile });
  return files;
}

function tlsListener(options: ServeOptions, listen: Address): NonNullable<WorkerSettings['tlsListen']> {
  const { names = [], given = null } = options.proxyTls ?? {};
  return { ...listen, names: [...names], certificate: given?.certificate ?? null };
}
