import type { FastifyInstance } from 'fastify';
import type { z } from 'zod';
import type { JournalWriter } from '../audit/journal.ts';
import { Channel } from '../channel/channel.ts';
import type { ExchangeRequest } from '../channel/messages/exchanger.ts';
import type { VaultStart } from '../channel/messages/supervisor.ts';
import { SallyportError } from '../errors.ts';
import { openWritable, type Store } from '../store/open.ts';
import { rootsOf } from './agents/roots.ts';
import { Sessions } from './agents/sessions.ts';
import { listen } from './api/listen.ts';
import { Ledger } from './audit/ledger.ts';
import { checkGivenCertificate } from './authorities/given-certificate.ts';
import { ProxyAuthority } from './authorities/proxy-authority.ts';
import { RootKeys } from './authorities/root-keys.ts';
import { Changes } from './changes.ts';
import { Complaints } from './complaints.ts';
import { destroyKeysOf, destroyUnreferenced } from './credentials/hsm-keys.ts';
import { Asking } from './exchange/asking.ts';
import { Exchangers } from './exchange/exchangers.ts';
import { AccessTokens, keyOf } from './exchange/tokens.ts';
import { IntegrityGuard } from './integrity/guard.ts';
import { KeyholderClient } from './keyholder.ts';
import { Loading } from './policy/loading.ts';
import { Policy } from './policy/policy.ts';
import { vaultStatus } from './status.ts';
import type { SupervisorClient } from './supervisor.ts';
import { Desk } from './workers/desk.ts';
import { Fleet } from './workers/fleet.ts';
import { Issuers } from './workers/issuers.ts';
import { SnapshotCompiler } from './workers/snapshot.ts';

const WATCH_EVERY_MS = 200;
/** How long a replaced value may still stand, sealed, in the store's log. */
const TIDY_EVERY_MS = 2_000;
const CHECKPOINT_EVERY_MS = 60_000;
/** Less than the supervisor waits; more than a worker takes to finish what it does. */
const DRAIN_MS = 9_000;

type Start = z.infer<typeof VaultStart>;

/** The vault's parts, put together, and what happens to them from outside and by the clock. */
export class Vault {
  readonly #start: Start;
  readonly #version: string;
  readonly #supervisor: SupervisorClient;
  readonly #store: Store;
  readonly #keyholder: KeyholderClient;
  readonly #policy: Policy;
  readonly #ledger: Ledger;
  readonly #compiler: SnapshotCompiler;
  readonly #sessions = new Sessions();
  readonly #rootKeys: RootKeys;
  readonly #issuers: Issuers;
  readonly #proxyAuthority: ProxyAuthority;
  readonly #fleet: Fleet;
  readonly #desk: Desk;
  readonly #changes: Changes;
  readonly #exchangers: Exchangers;
  readonly #tokens: AccessTokens;
  readonly #guard: IntegrityGuard;
  readonly #complaints = new Complaints();
  readonly #timers: NodeJS.Timeout[] = [];
  #servers: FastifyInstance[] = [];

  private constructor(
    start: Start,
    version: string,
    store: Store,
    journal: JournalWriter,
    supervisor: SupervisorClient,
    secrets: readonly Buffer[],
  ) {
    this.#start = start;
    this.#version = version;
    this.#supervisor = supervisor;
    this.#store = store;
    this.#keyholder = new KeyholderClient((name, reason) => {
      this.#kill(name, reason).catch((error: unknown) => this.#complaints.report(error));
    }, start.keyholders > 1);
    this.#policy = new Policy(store, this.#keyholder);
    this.#ledger = new Ledger(journal, this.#keyholder);
    this.#compiler = new SnapshotCompiler(this.#policy, this.#sessions);
    this.#rootKeys = new RootKeys(this.#keyholder, start.authorityKeys);
    this.#issuers = new Issuers(this.#rootKeys);
    this.#fleet = new Fleet(
      this.#policy,
      this.#compiler,
      { settings: start.worker, secrets, named: start.secrets },
      {
        kill: (name, reason) => this.#kill(name, reason),
        ready: (name) => supervisor.workerReady(name),
      },
    );
    this.#changes = new Changes(
      this.#policy,
      this.#ledger,
      () => this.#publish(),
      () => this.#guard.recheck(),
      (credentials) => destroyKeysOf(this.#keyholder, this.#policy.state, credentials),
    );
    this.#guard = new IntegrityGuard(this.#policy, this.#ledger, () => this.#publish());
    const names = start.worker.tlsListen?.certificate === null ? start.worker.tlsListen.names : [];
    this.#proxyAuthority = new ProxyAuthority(this.#policy, this.#changes, this.#keyholder, names);
    this.#exchangers = new Exchangers({
      start: () => supervisor.startExchanger(),
      kill: (name, reason) => this.#kill(name, reason),
      settings: exchangerSettings(start.worker),
      secrets: start.secrets.flatMap((name, index) => {
        const value = secrets[index];
        return name === 'upstreamProxyPassword' && value ? [{ name, value }] : [];
      }),
    });
    this.#tokens = new AccessTokens({
      keyholder: this.#keyholder,
      asking: new Asking(this.#policy, this.#keyholder, this.#exchangers),
      changes: this.#changes,
      ledger: this.#ledger,
    });
    this.#desk = new Desk({
      policy: this.#policy,
      compiler: this.#compiler,
      keyholder: this.#keyholder,
      issuers: this.#issuers,
      proxyAuthority: this.#proxyAuthority,
      ledger: this.#ledger,
      tokens: this.#tokens,
      leavesPerMinute: start.worker.limits.leavesPerMinute,
    });
    const loading = new Loading({
      policy: this.#policy,
      changes: this.#changes,
      keyholder: this.#keyholder,
      guard: this.#guard,
      complaints: this.#complaints,
      loaded: () => this.#loaded(),
      inTurn: async () => {
        const { state } = this.#policy;
        await this.#rootKeys.keepOnly(state.agents().flatMap(rootsOf));
        await destroyUnreferenced(this.#keyholder, state);
      },
      sound: () => this.#proxyAuthority.ensure(),
    });
    this.#keyholder.onReady = () => loading.load();
    this.#timers.push(
      setInterval(() => loading.watch(), WATCH_EVERY_MS),
      setInterval(() => this.#complaints.attempt(this.#ledger.checkpoint()), CHECKPOINT_EVERY_MS),
      setInterval(() => this.#changes.tidy(), TIDY_EVERY_MS),
    );
  }

  /**
   * Opens the store. `secrets`: what `start.secrets` names, which are this vault's from now on. Throws
   * store_unavailable, store_version, journal_unavailable, invalid_settings.
   */
  static async open(
    start: Start,
    version: string,
    journal: JournalWriter,
    supervisor: SupervisorClient,
    secrets: readonly Buffer[],
  ): Promise<Vault> {
    const certificate = start.worker.tlsListen?.certificate ?? null;
    const key = secrets[start.secrets.indexOf('tlsKey')];
    if (certificate !== null && key) checkGivenCertificate(certificate, key);
    return new Vault(start, version, await openWritable(start.database), journal, supervisor, secrets);
  }

  /** Dials the supervisor's rendezvous for a process that it is about to start. */
  async connect(
    kind: 'keyholder' | 'worker' | 'exchanger',
    name: string,
    journal: string | null,
  ): Promise<void> {
    if (kind === 'worker') {
      const file = journal ?? '';
      const channel = await Channel.connect(this.#start.rendezvous, this.#desk.serve(name, file));
      this.#fleet.add(name, file, channel);
      return;
    }
    const channel = await Channel.connect(this.#start.rendezvous, () => {
      throw new SallyportError('channel_malformed', `The ${kind} asks nothing of the vault.`);
    });
    if (kind === 'exchanger') return this.#exchangers.connected(name, channel);
    this.#complaints.attempt(this.#keyholder.connect(name, channel));
  }

  /** Rejects with what the keyholder connected last lacks. */
  keyholderOpened(): Promise<void> {
    return this.#keyholder.opened();
  }

  /** The process of that name is gone. */
  gone(name: string): void {
    this.#fleet.remove(name);
    this.#exchangers.gone(name);
  }

  /** Listens for changes. Not before: workers of an earlier vault would not learn of them. Throws address_in_use. */
  async listen(): Promise<void> {
    if (this.#servers.length > 0) return;
    const status = () =>
      vaultStatus({
        start: this.#start,
        version: this.#version,
        supervisor: this.#supervisor,
        keyholder: this.#keyholder,
        policy: this.#policy,
        fleet: this.#fleet,
        compiler: this.#compiler,
      });
    this.#servers = await listen(
      {
        version: this.#version,
        keepVersions: this.#start.keepVersions,
        store: this.#store,
        policy: this.#policy,
        changes: this.#changes,
        keyholder: this.#keyholder,
        ledger: this.#ledger,
        sessions: this.#sessions,
        rootKeys: this.#rootKeys,
        guard: this.#guard,
        status,
      },
      this.#start,
    );
  }

  /** Ends in order: no more changes, workers finish, the journal is signed, the store closed. */
  async drain(withinMs = DRAIN_MS): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await Promise.all(this.#servers.map((server) => server.close()));
    await this.#fleet.drain(withinMs);
    await this.#ledger.checkpoint().catch((error: unknown) => this.#complaints.report(error));
    this.#store.close();
  }

  #loaded(): void {
    // Not before: a start that fails writes nothing.
    const { previousJournal: previous } = this.#start;
    if (previous) this.#complaints.attempt(this.#ledger.head(previous.file, previous));
    this.#fleet.startEarly();
  }

  async #publish(): Promise<void> {
    await this.#fleet.publish();
    const { state } = this.#policy;
    this.#issuers.keepOnly(new Set(state.agents().map((agent) => agent.id)));
    this.#tokens.keepOnly(new Set(state.credentials().map((each) => keyOf(each.id, each.current_version))));
  }

  async #kill(name: string, reason: string): Promise<void> {
    await this.#supervisor.kill(name, reason);
    await this.#ledger.record('process', 'kill', name, { reason });
  }
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
