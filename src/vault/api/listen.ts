import { rmSync } from 'node:fs';
import type { FastifyInstance } from 'fastify';
import { SallyportError } from '../../errors.ts';
import type { Store } from '../../store/open.ts';
import { Agents } from '../agents/agents.ts';
import type { Sessions } from '../agents/sessions.ts';
import type { Ledger } from '../audit/ledger.ts';
import type { ProxyRoots } from '../authorities/proxy-roots.ts';
import type { RootKeys } from '../authorities/root-keys.ts';
import { Backups } from '../backup/backups.ts';
import type { Changes } from '../changes.ts';
import { BornKeys } from '../credentials/born-keys.ts';
import { Credentials } from '../credentials/credentials.ts';
import { CredentialDrafts } from '../credentials/draft.ts';
import { Grants } from '../grants/grants.ts';
import type { IntegrityGuard } from '../integrity/guard.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { IntegrityDesk } from '../lifecycle/integrity.ts';
import { Rotation } from '../lifecycle/rotation.ts';
import { CredentialVersions } from '../lifecycle/versions.ts';
import type { Policy } from '../policy/policy.ts';
import type { Readiness } from '../readiness.ts';
import { Services } from '../services/services.ts';
import { controlApi } from './control.ts';
import { publicApi } from './public.ts';

/** What administration works on. */
export interface Administered {
  readonly version: string;
  readonly keepVersions: number;
  readonly store: Store;
  readonly policy: Policy;
  readonly changes: Changes;
  readonly keyholder: KeyholderClient;
  readonly ledger: Ledger;
  readonly sessions: Sessions;
  readonly rootKeys: RootKeys;
  readonly proxyRoots: ProxyRoots;
  readonly guard: IntegrityGuard;
  readonly readiness: Readiness;
  status(): Promise<unknown>;
}

/**
 * Listens for administration on the Unix socket at `control` (0600 by main's umask), and for everybody at `api`. Throws
 * address_in_use.
 */
export async function listen(
  {
    version,
    keepVersions,
    store,
    policy,
    changes,
    keyholder,
    ledger,
    sessions,
    rootKeys,
    proxyRoots,
    guard,
    readiness,
    status,
  }: Administered,
  at: { readonly control: string; readonly api: { readonly host: string; readonly port: number } },
): Promise<FastifyInstance[]> {
  const drafts = new CredentialDrafts(keyholder, keepVersions);
  const control = controlApi({
    rows: () => policy.state.rows(),
    status,
    intakePublicKey: () => keyholder.intakePublicKey(),
    agents: new Agents(changes, rootKeys, sessions),
    proxyRoots,
    services: new Services(changes, keyholder),
    credentials: new Credentials(changes, keyholder, drafts),
    bornKeys: new BornKeys(changes, keyholder, drafts),
    versions: new CredentialVersions(policy, changes, keyholder, keepVersions),
    grants: new Grants(changes),
    integrity: new IntegrityDesk(policy, changes, ledger, guard, keyholder),
    rotation: new Rotation(policy, changes, keyholder, ledger),
    backups: new Backups(store, policy, changes, ledger, keyholder, version),
  });
  const api = publicApi(version, readiness);
  await listenOn(api, at.api);
  rmSync(at.control, { force: true }); // an earlier vault's: the supervisor runs one at a time
  await listenOn(control, { path: at.control });
  return [control, api];
}

async function listenOn(app: FastifyInstance, where: { host: string; port: number } | { path: string }) {
  try {
    await app.listen(where);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new SallyportError('address_in_use', `The vault cannot listen (${why}): choose another address.`, {
      cause,
    });
  }
}
