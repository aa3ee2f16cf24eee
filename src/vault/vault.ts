import { rmSync } from 'node:fs';
import type { FastifyInstance } from 'fastify';
import type { z } from 'zod';
import type { JournalWriter } from '../audit/journal.ts';
import { Channel } from '../channel/channel.ts';
import type { VaultStart } from '../channel/messages/supervisor.ts';
import { SallyportError } from '../errors.ts';
import { openWritable, type Store } from '../store/open.ts';
import { Agents } from './agents/agents.ts';
import { rootsOf } from './agents/roots.ts';
import { Sessions } from './agents/sessions.ts';
import { controlApi } from './api/control.ts';
import { publicApi } from './api/public.ts';
import { Ledger } from './audit/ledger.ts';
import { ProxyAuthority } from './authorities/proxy-authority.ts';
import { RootKeys } from './authorities/root-keys.ts';
import { Backups } from './backup/backups.ts';
import { Changes } from './changes.ts';
import { Credentials } from './credentials/credentials.ts';
import { Grants } from './grants/grants.ts';
import { describeFailures } from './integrity/verify.ts';
import { KeyholderClient } from './keyholder.ts';
import { IntegrityDesk } from './lifecycle/integrity.ts';
import { Rotation } from './lifecycle/rotation.ts';
import { CredentialVersions } from './lifecycle/versions.ts';
import { Policy } from './policy/policy.ts';
import { Services } from './services/services.ts';
import type { SupervisorClient } from './supervisor.ts';
import { Desk } from './workers/desk.ts';
import { Fleet } from './workers/fleet.ts';
import { Issuers } from './workers/issuers.ts';
import { SnapshotCompiler } from './workers/snapshot.ts';

const WATCH_EVERY_MS = 200;
const LOAD_AGAIN_MS = 2_000;
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
  readonly #timers: NodeJS.Timeout[] = [];
  #servers: FastifyInstance[] = [];
  #loadedLast = 0;
  #reported = '';

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
      this.#kill(name, reason).catch((error: unknown) => this.#report(error));
    });
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
      () => this.#recheck(),
    );
    const names = start.worker.tlsListen?.certificate === null ? start.worker.tlsListen.names : [];
    this.#proxyAuthority = new ProxyAuthority(this.#policy, this.#changes, this.#keyholder, names);
    this.#desk = new Desk({
      policy: this.#policy,
      compiler: this.#compiler,
      keyholder: this.#keyholder,
      issuers: this.#issuers,
      proxyAuthority: this.#proxyAuthority,
      ledger: this.#ledger,
    });
    this.#keyholder.onReady = () => this.#load();
    this.#timers.push(
      setInterval(() => this.#watch(), WATCH_EVERY_MS),
      setInterval(() => this.#attempt(this.#ledger.checkpoint()), CHECKPOINT_EVERY_MS),
      setInterval(() => this.#changes.tidy(), TIDY_EVERY_MS),
    );
  }

  /**
   * Opens the store. `secrets`: what `start.secrets` names, which are this vault's from now on. Throws
   * store_unavailable, store_version.
   */
  static async open(
    start: Start,
    version: string,
    journal: JournalWriter,
    supervisor: SupervisorClient,
    secrets: readonly Buffer[],
  ): Promise<Vault> {
    return new Vault(start, version, await openWritable(start.database), journal, supervisor, secrets);
  }

  /** Dials the supervisor's rendezvous for a keyholder or worker that it is about to start. */
  async connect(kind: 'keyholder' | 'worker', name: string, journal: string | null): Promise<void> {
    if (kind === 'worker') {
      const file = journal ?? '';
      const channel = await Channel.connect(this.#start.rendezvous, this.#desk.serve(name, file));
      this.#fleet.add(name, file, channel);
      return;
    }
    const channel = await Channel.connect(this.#start.rendezvous, () => {
      throw new SallyportError('channel_malformed', 'The keyholder asks nothing of the vault.');
    });
    this.#attempt(this.#keyholder.connect(name, channel));
  }

  /** Rejects with what the keyholder connected last lacks. */
  keyholderOpened(): Promise<void> {
    return this.#keyholder.opened();
  }

  /** The process of that name is gone. */
  gone(name: string): void {
    this.#fleet.remove(name);
  }

  /** Listens for changes. Not before: workers of an earlier vault would not learn of them. Throws address_in_use. */
  async listen(): Promise<void> {
    if (this.#servers.length > 0) return;
    const control = controlApi({
      rows: () => this.#policy.state.rows(),
      status: () => this.#status(),
      intakePublicKey: () => this.#keyholder.intakePublicKey(),
      agents: new Agents(this.#changes, this.#rootKeys, this.#sessions),
      services: new Services(this.#changes, this.#keyholder),
      credentials: new Credentials(this.#changes, this.#keyholder, this.#start.keepVersions),
      versions: new CredentialVersions(this.#changes, this.#keyholder, this.#start.keepVersions),
      grants: new Grants(this.#changes),
      integrity: new IntegrityDesk(this.#policy, this.#changes, this.#ledger, {
        recheck: () => this.#recheck(true),
        announce: () => this.#announceIntegrity(),
      }),
      rotation: new Rotation(this.#policy, this.#changes, this.#keyholder, this.#ledger),
      backups: new Backups(
        this.#store,
        this.#policy,
        this.#changes,
        this.#ledger,
        this.#keyholder,
        this.#version,
      ),
    });
    const api = publicApi(this.#version);
    this.#servers = [control, api];
    await listenOn(api, this.#start.api);
    rmSync(this.#start.control, { force: true }); // an earlier vault's: the supervisor runs one at a time
    await listenOn(control, { path: this.#start.control }); // 0600 by main's umask
  }

  /** Ends in order: no more changes, workers finish, the journal is signed, the store closed. */
  async drain(withinMs = DRAIN_MS): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await Promise.all(this.#servers.map((server) => server.close()));
    await this.#fleet.drain(withinMs);
    await this.#ledger.checkpoint().catch((error: unknown) => this.#report(error));
    this.#store.close();
  }

  /** Authenticates the policy, once; later keyholders only find an anchor that is behind. */
  #load(): void {
    this.#loadedLast = Date.now();
    const work = this.#changes.exclusive(async () => {
      if (this.#policy.loaded) return this.#policy.anchor();
      await this.#policy.load();
      this.#fleet.startEarly();
      if (this.#policy.failures.length > 0) return this.#alarm();
      await this.#rootKeys.keepOnly(this.#policy.state.agents().flatMap(rootsOf));
    });
    this.#attempt(
      work.then(async () => {
        if (this.#policy.failures.length === 0) await this.#proxyAuthority.ensure();
      }),
    );
  }

  /** Looks whether somebody else has written to the store, and refuses everything where they have. */
  #watch(): void {
    if (!this.#policy.loaded) {
      if (this.#keyholder.info && Date.now() - this.#loadedLast > LOAD_AGAIN_MS) this.#load();
      return;
    }
    if (!this.#changes.idle) return; // every change looks for itself
    this.#attempt(this.#changes.exclusive(() => this.#recheck()));
  }

  async #recheck(always = false): Promise<void> {
    if (await this.#policy.recheck(always)) await this.#announceIntegrity();
  }

  async #announceIntegrity(): Promise<void> {
    await Promise.all([this.#publish(), this.#alarm()]);
  }

  async #publish(): Promise<void> {
    await this.#fleet.publish();
    this.#issuers.keepOnly(new Set(this.#policy.state.agents().map((agent) => agent.id)));
  }

  async #alarm(): Promise<void> {
    const { failures } = this.#policy;
    const what =
      failures.length > 0 ? `integrity_failed: ${describeFailures(failures)}` : 'integrity restored';
    process.stderr.write(`sallyport: ${what}\n`);
    const rows = failures.map(({ table, id }) => `${table}/${id}`).join(' ');
    await this.#ledger.record('alarm', 'integrity', failures.length > 0 ? 'integrity_failed' : 'ok', {
      what,
      rows,
    });
  }

  async #kill(name: string, reason: string): Promise<void> {
    await this.#supervisor.kill(name, reason);
    await this.#ledger.record('process', 'kill', name, { reason });
  }

  async #status() {
    const { failures } = this.#policy;
    const { listen, tlsListen } = this.#start.worker;
    return {
      version: this.#version,
      isolation: this.#start.isolation,
      proxy: url('http', listen),
      proxyTls: tlsListen && url('https', tlsListen),
      processes: await this.#supervisor.processes(),
      hsm: await this.#keyholder.status(),
      integrity: { state: failures.length === 0 ? 'ok' : 'integrity_failed', failures },
      workers: this.#fleet.status(),
      revision: this.#compiler.revision,
    };
  }

  #attempt(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.#report(error));
  }

  /** What goes wrong by the clock goes wrong often: the same line is not repeated. */
  #report(error: unknown): void {
    const line = error instanceof Error ? error.message : String(error);
    if (line === this.#reported) return;
    this.#reported = line;
    process.stderr.write(`sallyport: ${line}\n`);
  }
}

function url(scheme: 'http' | 'https', { host, port }: { host: string; port: number }): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
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
