import type { z } from 'zod';
import type { JournalWriter } from '../audit/journal.ts';
import type { ExchangeRequest } from '../channel/messages/exchanger.ts';
import type { VaultStart } from '../channel/messages/supervisor.ts';
import type { Store } from '../store/open.ts';
import { rootsOf } from './agents/roots.ts';
import { Sessions } from './agents/sessions.ts';
import { Ledger } from './audit/ledger.ts';
import { ProxyAuthority } from './authorities/proxy-authority.ts';
import { ProxyRoots } from './authorities/proxy-roots.ts';
import { proxyRows, storedRoot } from './authorities/proxy-row.ts';
import { RootKeys } from './authorities/root-keys.ts';
import { Changes } from './changes.ts';
import { Complaints } from './complaints.ts';
import { destroyKeysOf, destroyUnreferenced } from './credentials/hsm-keys.ts';
import { Asking } from './exchange/asking.ts';
import { Exchangers } from './exchange/exchangers.ts';
import { AccessTokens, keyOf } from './exchange/tokens.ts';
import { FileAnchor } from './integrity/anchor-file.ts';
import { TokenAnchor } from './integrity/anchor-place.ts';
import { IntegrityGuard } from './integrity/guard.ts';
import { KeyholderClient } from './keyholder.ts';
import { HsmAlarms } from './keyholders/alarms.ts';
import { ofPin } from './keyholders/keyholder.ts';
import { describeMissing, knownMissing } from './lifecycle/missing-keks.ts';
import { Loading } from './policy/loading.ts';
import { Policy } from './policy/policy.ts';
import type { SupervisorClient } from './supervisor.ts';
import { Desk } from './workers/desk.ts';
import { Fleet } from './workers/fleet.ts';
import { Issuers } from './workers/issuers.ts';
import { SnapshotCompiler } from './workers/snapshot.ts';

type Start = z.infer<typeof VaultStart>;

/** What a vault is given when it starts. */
export interface Given {
  readonly start: Start;
  readonly version: string;
  readonly store: Store;
  readonly journal: JournalWriter;
  readonly supervisor: SupervisorClient;
  /** What `start.secrets` names, which are this vault's from now on. */
  readonly secrets: readonly Buffer[];
}

export type Parts = ReturnType<typeof assemble>;

/** Puts the vault's parts together. Nothing runs yet. */
export function assemble({ start, version, store, journal, supervisor, secrets }: Given) {
  const complaints = new Complaints();
  const sessions = new Sessions();
  const kill = async (name: string, reason: string): Promise<void> => {
    await supervisor.kill(name, reason);
    await ledger.record('process', 'kill', name, { reason });
  };
  const publish = async (): Promise<void> => {
    await fleet.publish();
    const { state } = policy;
    issuers.keepOnly(compiler.hostsByAgent);
    tokens.keepOnly(new Set(state.credentials().map((each) => keyOf(each.id, each.current_version))));
  };
  const alarms = new HsmAlarms(({ state, keyholder, what }) => {
    process.stderr.write(`sallyport: ${what}\n`);
    complaints.attempt(ledger.record('alarm', 'hsm', state, { keyholder, what }));
  });
  const keyholder = new KeyholderClient(
    (name, reason) => complaints.attempt(kill(name, reason)),
    start.keyholders > 1,
    {
      lost: (name, error) => {
        alarms.lost(name, error);
        if (ofPin(error)) supervisor.pinProblem(name, error.code === 'hsm_pin_wrong');
        setImmediate(() => complaints.attempt(fleet.startClosed())); // once all know what the problem is
      },
      well: (name) => alarms.well(name),
      ended: (name) => alarms.ended(name),
    },
  );
  const anchorPlace =
    start.anchorFile === null ? new TokenAnchor(keyholder) : new FileAnchor(start.anchorFile, keyholder);
  const policy = new Policy(store, keyholder, anchorPlace);
  const ledger = new Ledger(journal, keyholder, start.previousJournal);
  const compiler = new SnapshotCompiler(policy, sessions);
  const rootKeys = new RootKeys(keyholder, start.authorityKeys);
  const issuers = new Issuers(rootKeys);
  const fleet = new Fleet(
    policy,
    compiler,
    { settings: start.worker, secrets, named: start.secrets },
    { kill, ready: (name) => supervisor.workerReady(name) },
  );
  const guard = new IntegrityGuard(policy, ledger, publish);
  const changes = new Changes(
    policy,
    ledger,
    publish,
    () => guard.recheck(),
    (credentials) => destroyKeysOf(keyholder, policy.state, credentials),
  );
  const names = start.worker.tlsListen?.certificate === null ? start.worker.tlsListen.names : [];
  const proxyRoots = new ProxyRoots(policy, changes, rootKeys);
  const proxyAuthority = new ProxyAuthority(policy, proxyRoots, rootKeys, names, (error) =>
    complaints.report(error),
  );
  const exchangers = new Exchangers({
    start: () => supervisor.startExchanger(),
    kill,
    settings: exchangerSettings(start.worker),
    secrets: start.secrets.flatMap((name, index) => {
      const value = secrets[index];
      return name === 'upstreamProxyPassword' && value ? [{ name, value }] : [];
    }),
  });
  const tokens = new AccessTokens({
    keyholder,
    asking: new Asking(policy, keyholder, exchangers),
    changes,
    ledger,
  });
  const { leavesPerMinute } = start.worker.limits;
  const lent = { policy, compiler, keyholder, issuers, proxyAuthority, ledger, tokens, leavesPerMinute };
  const desk = new Desk(lent);
  const loading = new Loading({
    policy,
    changes,
    keyholder,
    guard,
    complaints,
    loaded: async () => {
      complaints.attempt(ledger.begin()); // not before: a start that fails writes nothing
      fleet.startEarly();
      await fleet.publish().catch((error: unknown) => complaints.report(error));
      const missing = knownMissing(policy.state, keyholder);
      for (const { kek, rows } of missing) {
        const named = rows.map(({ table, id }) => `${table}/${id}`).join(' ');
        complaints.attempt(ledger.record('alarm', 'hsm.kek-missing', kek, { rows: named }));
      }
      if (missing.length > 0) complaints.report(describeMissing(missing));
    },
    inTurn: async () => {
      const { state } = policy;
      await rootKeys.keepOnly([...state.agents().flatMap(rootsOf), ...proxyRows(state).map(storedRoot)]);
      await destroyUnreferenced(keyholder, state);
    },
    sound: () => proxyRoots.ensure(),
  });
  const { keepVersions } = start;
  const given = { start, version, keepVersions, store, supervisor };
  const held = { keyholder, policy, ledger, compiler, sessions, rootKeys, proxyRoots, fleet, guard, changes };
  return { ...given, ...held, exchangers, desk, loading, complaints, alarms };
}

/** What of the workers' settings holds for whoever asks token endpoints. */
function exchangerSettings({
  upstreamCa,
  systemCa,
  upstreamResolve,
  upstreamAllow,
  upstreamProxy,
  ownListeners,
}: Start['worker']): ExchangeRequest['settings'] {
  return { upstreamCa, systemCa, upstreamResolve, upstreamAllow, upstreamProxy, ownListeners };
}
