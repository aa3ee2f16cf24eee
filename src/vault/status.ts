import type { z } from 'zod';
import type { VaultStart } from '../channel/messages/supervisor.ts';
import type { KeyholderClient } from './keyholder.ts';
import { knownMissing } from './lifecycle/missing-keks.ts';
import type { Policy } from './policy/policy.ts';
import type { SupervisorClient } from './supervisor.ts';
import type { Fleet } from './workers/fleet.ts';
import type { SnapshotCompiler } from './workers/snapshot.ts';

export interface StatusParts {
  readonly start: z.infer<typeof VaultStart>;
  readonly version: string;
  readonly supervisor: SupervisorClient;
  readonly keyholder: KeyholderClient;
  readonly policy: Policy;
  readonly fleet: Fleet;
  readonly compiler: SnapshotCompiler;
}

/** What `sallyport status` shows. */
export async function vaultStatus(parts: StatusParts) {
  const { failures } = parts.policy;
  const { isolation, worker } = parts.start;
  return {
    version: parts.version,
    isolation,
    proxy: url('http', worker.listen),
    proxyTls: worker.tlsListen && url('https', worker.tlsListen),
    processes: await parts.supervisor.processes(),
    hsm: await parts.keyholder.status(),
    missingKeks: parts.policy.loaded ? knownMissing(parts.policy.state, parts.keyholder) : [],
    integrity: { state: integrityState(parts.policy), failures },
    workers: parts.fleet.status(),
    revision: parts.compiler.revision,
  };
}

/** `unread`: nothing is known of the policy yet, so nothing is served by it. */
function integrityState({ loaded, failures }: Policy): 'ok' | 'integrity_failed' | 'unread' {
  if (!loaded) return 'unread';
  return failures.length === 0 ? 'ok' : 'integrity_failed';
}

function url(scheme: 'http' | 'https', { host, port }: { host: string; port: number }): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
