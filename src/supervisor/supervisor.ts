import { spawnSync } from 'node:child_process';
import { accessSync, constants, statSync, unlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { journalFileName } from '../audit/files.ts';
import { Channel } from '../channel/channel.ts';
import {
  type ExchangerReply,
  FromVault,
  type ProcessStatus,
  type ToVault,
} from '../channel/messages/supervisor.ts';
import type { WorkerSecret, WorkerSettings } from '../channel/messages/worker.ts';
import { SallyportError } from '../errors.ts';
import { type Child, JOURNAL, journalPath, READ_ONLY, startChild } from './child.ts';
import { checkDataFolder, lockDataFolder, probeListener } from './data-folder.ts';
import { raiseDescriptorLimit } from './descriptors.ts';
import { assignOwnership } from './identity.ts';
import { tokenArguments } from './installation.ts';
import { type ChildKind, chooseIsolation, type Isolation } from './isolation.ts';
import type { Address, ServeOptions } from './options.ts';
import { previousJournal } from './previous-journal.ts';
import { Rendezvous } from './rendezvous.ts';
import { withSecrets } from './secret-files.ts';

const PROGRAM_FOLDER = fileURLToPath(new URL('../..', import.meta.url));
/** `.ts` in a checkout, `.js` where we were built. */
const EXTENSION = import.meta.filename.slice(import.meta.filename.lastIndexOf('.'));
const VAULT_START_TIMEOUT_MS = 60_000;
const DRAIN_MS = 10_000;
const STALE_DRAIN_MS = 2_000;
const ABANDON_MS = 2_000;

export interface Running {
  readonly proxy: Address;
  /** Null: no listener with TLS. */
  readonly proxyTls: Address | null;
  readonly api: Address;
  /** Ends everything in order: workers finish what they carry, then the vault, then the keyholder. */
  drain(): Promise<void>;
  /** Rejects when the processes cannot be kept running. */
  readonly failed: Promise<never>;
}

/**
 * Starts keyholder, vault and workers and keeps them running. It holds no secret: it opens the PIN's file without
 * reading it and never reads from the channels that it hands out. Resolves when every worker serves. Throws
 * SallyportError with the reason, having ended whatever it started.
 */
export async function startSupervisor(options: ServeOptions): Promise<Running> {
  checkDataFolder(options.data);
  const lock = await lockDataFolder(options.data);
  const proxy = { ...options.proxyListen, port: await probeListener(options.proxyListen, 'proxy') };
  const tls = options.proxyTls?.listen;
  const proxyTls = tls === undefined ? null : { ...tls, port: await probeListener(tls, 'TLS proxy') };
  const api = { ...options.apiListen, port: await probeListener(options.apiListen, 'API') };
  process.umask(0o077);
  // No core dumps, of this process or of any that it starts: a core would hold what memory holds.
  spawnSync('prlimit', ['--pid', String(process.pid), '--core=0:0'], { stdio: 'ignore' });
  const tooFew = raiseDescriptorLimit();
  if (tooFew !== undefined) report(tooFew);
  assignOwnership(options.data);
  const isolation = chooseIsolation(options.isolation, {
    node: process.execPath,
    program: PROGRAM_FOLDER,
    keyholderAsUs: !options.installation.ownToken,
    data: options.data,
  });
  const owner = isolation.name === 'uid' ? isolation.uid('vault') : undefined;
  const rendezvous = await Rendezvous.open(join(options.data, 'vault'), owner);
  const supervisor = new Supervisor(options, isolation, rendezvous, { proxy, proxyTls, api });
  try {
    await supervisor.start();
  } catch (error) {
    await supervisor.abandon();
    rendezvous.close();
    lock.close();
    throw error;
  }
  return {
    proxy,
    proxyTls,
    api,
    failed: supervisor.failed,
    drain: async () => {
      await supervisor.drain();
      rendezvous.close();
      lock.close();
    },
  };
}

/** Where we listen, ports chosen. */
type Listeners = Pick<Running, 'proxy' | 'proxyTls' | 'api'>;

class Supervisor {
  readonly #options: ServeOptions;
  readonly #isolation: Isolation;
  readonly #rendezvous: Rendezvous;
  readonly #listeners: Listeners;
  readonly #children = new Map<string, Child>();
  readonly #runs = new Map<string, number>();
  readonly #ready = new Map<string, () => void>();
  #vault: Channel | undefined;
  /** Those that were opened before everything was up. */
  readonly #journals: string[] = [];
  #started = false;
  #stopping = false;
  /** Joins of two processes go one at a time: the next socket accepted is the one asked for. */
  #joining: Promise<unknown> = Promise.resolve();
  #fail: (error: Error) => void = () => {};
  readonly failed: Promise<never>;

  constructor(options: ServeOptions, isolation: Isolation, rendezvous: Rendezvous, listeners: Listeners) {
    this.#options = options;
    this.#isolation = isolation;
    this.#rendezvous = rendezvous;
    this.#listeners = listeners;
    this.failed = new Promise((_resolve, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => {}); // a caller that only drains need not look at it
  }

  async start(): Promise<void> {
    const vault = await this.#startVault();
    await this.#startKeyholder(vault, 1);
    // Only at the first start: later an HSM that is away for a while is waited for.
    await vault.request({ type: 'keyholder' } satisfies ToVault, [], () => undefined, VAULT_START_TIMEOUT_MS);
    const slots = Array.from({ length: this.#options.workers }, (_, index) => index + 1);
    await Promise.all(slots.map((slot) => this.#startWorker(vault, slot)));
    await vault.request({ type: 'open' } satisfies ToVault, [], () => undefined, VAULT_START_TIMEOUT_MS);
    await this.#startMoreKeyholders(vault);
    this.#started = true;
  }

  async drain(withinMs = DRAIN_MS): Promise<void> {
    this.#stopping = true;
    this.#vault?.event({ type: 'drain' } satisfies ToVault);
    await this.#allGone(withinMs);
    await this.#kill();
  }

  /** Ends a start that failed, and leaves the data folder as it was: the database closed, no journal with nothing in it. */
  async abandon(): Promise<void> {
    await this.drain(ABANDON_MS);
    for (const path of this.#journals) {
      if (statSync(path, { throwIfNoEntry: false })?.size === 0) unlinkSync(path);
    }
  }

  async #kill(): Promise<void> {
    for (const child of this.#children.values()) child.signal('SIGKILL');
    await this.#allGone(DRAIN_MS);
    this.#vault?.close();
  }

  async #startVault(): Promise<Channel> {
    const { data, upstreamResolve, upstreamAllow, upstreamProxy, upstreamCa, systemCa, hotSecrets, limits } =
      this.#options;
    const { proxy, proxyTls, api } = this.#listeners;
    const previous = await previousJournal(join(data, 'journal'));
    const journal = this.#journal('vault');
    const vault = await this.#join(() =>
      Channel.connect(this.#rendezvous.path, (header) => this.#answer(FromVault.parse(header))),
    ).then(async ({ dialled, accepted }) => {
      await this.#spawn('vault', journal.name, {
        args: ['--journal', journal.file],
        input: { path: journalPath(data, journal.file), flags: JOURNAL },
        channel: accepted,
        dataFolder: join(data, 'vault'),
        environment: {},
        onGone: () => this.#vaultGone(dialled),
      });
      return dialled;
    });
    this.#vault = vault;
    const files = this.#secretFiles();
    const start: ToVault = {
      type: 'start',
      rendezvous: '/proc/self/fd/4/rendezvous.sock',
      control: '/proc/self/fd/4/control.sock',
      database: join(this.#isolation.vaultFolder, 'sallyport.db'),
      api,
      keepVersions: this.#options.keepVersions,
      keyholders: this.#options.keyholders,
      previousJournal: previous,
      authorityKeys: this.#options.installation.authorityKeys,
      isolation: this.#isolation.name,
      worker: {
        listen: proxy,
        workers: this.#options.workers,
        tlsListen: proxyTls && this.#tlsListener(proxyTls),
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
    await withSecrets(
      files.map(({ file }) => file),
      (secrets) => vault.request(start, secrets, () => undefined, VAULT_START_TIMEOUT_MS),
    );
    return vault;
  }

  #tlsListener(listen: Address): NonNullable<WorkerSettings['tlsListen']> {
    const { names = [], given = null } = this.#options.proxyTls ?? {};
    return { ...listen, names: [...names], certificate: given?.certificate ?? null };
  }

  /** What workers need as long as they run. Read anew for each vault: between two, nothing of it is kept here. */
  #secretFiles(): { secret: WorkerSecret; file: string }[] {
    const { proxyTls, upstreamProxyPasswordFile } = this.#options;
    const files: { secret: WorkerSecret; file: string }[] = [];
    if (proxyTls?.given) files.push({ secret: 'tlsKey', file: proxyTls.given.keyFile });
    if (upstreamProxyPasswordFile !== null)
      files.push({ secret: 'upstreamProxyPassword', file: upstreamProxyPasswordFile });
    return files;
  }

  async #startKeyholder(vault: Channel, slot: number): Promise<void> {
    const { installation, data, pinFile, keyholders } = this.#options;
    const name = this.#name(`keyholder-${slot}`);
    const accepted = await this.#dialled(vault, 'keyholder', name, null);
    const ownFolder = installation.ownToken ? join(data, 'token') : undefined;
    await this.#spawn('keyholder', name, {
      args: [...tokenArguments(installation), ...(keyholders > 1 ? ['--shared'] : [])],
      input: { path: pinFile, flags: READ_ONLY },
      channel: accepted,
      dataFolder: ownFolder,
      environment: installation.ownToken
        ? { SOFTHSM2_CONF: '/proc/self/fd/4/softhsm2.conf' }
        : installation.moduleEnvironment,
      onGone: (lived) => this.#again(vault, lived, () => this.#startKeyholder(vault, slot)),
    });
  }

  /** Nothing waits for these: one is enough to begin with. */
  async #startMoreKeyholders(vault: Channel): Promise<void> {
    for (let slot = 2; slot <= this.#options.keyholders; slot++) await this.#startKeyholder(vault, slot);
  }

  async #startWorker(vault: Channel, slot: number): Promise<void> {
    const journal = this.#journal(`worker-${slot}`);
    const accepted = await this.#dialled(vault, 'worker', journal.name, journal.file);
    const ready = new Promise<void>((resolve) => this.#ready.set(journal.name, resolve));
    const child = await this.#spawn('worker', journal.name, {
      args: ['--journal', journal.file],
      input: { path: journalPath(this.#options.data, journal.file), flags: JOURNAL },
      channel: accepted,
      dataFolder: undefined,
      environment: {},
      onGone: (lived) => this.#again(vault, lived, () => this.#startWorker(vault, slot)),
    });
    const died = child.gone.then(() => {
      throw new SallyportError(
        'internal',
        `The process ${journal.name} ended before it was ready: see the lines above.`,
      );
    });
    await Promise.race([ready, died]);
  }

  /** For one exchange: it ends with its channel, and none is started in its place. */
  async #startExchanger(): Promise<string> {
    const vault = this.#vault;
    if (!vault || this.#stopping) throw new SallyportError('draining', 'No exchange is begun any more.');
    const name = this.#name('exchanger');
    const accepted = await this.#dialled(vault, 'exchanger', name, null);
    await this.#spawn('exchanger', name, {
      args: [],
      input: { path: '/dev/null', flags: READ_ONLY },
      channel: accepted,
      dataFolder: undefined,
      environment: {},
      onGone: () => {},
    });
    return name;
  }

  /** Starts another child in the place of one that is gone, unless its vault is gone too or we are stopping. */
  #again(vault: Channel, livedMs: number, start: () => Promise<void>): void {
    if (this.#stopping || vault !== this.#vault || vault.closed) return;
    const delay = livedMs > 1_000 ? 0 : 500; // what dies at once is not started in a tight loop
    setTimeout(() => {
      if (this.#stopping || vault !== this.#vault || vault.closed) return;
      start().catch((error: unknown) => {
        report(
          `a process could not be started again: ${error instanceof Error ? error.message : String(error)}`,
        );
        this.#again(vault, 0, start);
      });
    }, delay);
  }

  /**
   * The vault died: its keyholder ends with its channel, its workers go on with what is hot for 5 seconds at most. A
   * new vault takes changes only once those workers are gone, since it has no way to tell them of a revocation.
   */
  #vaultGone(gone: Channel): void {
    if (this.#stopping || gone !== this.#vault) return;
    report('the vault ended; starting it again');
    this.#vault = undefined;
    const stale = [...this.#children.values()].filter((child) => child.kind !== 'vault');
    const restart = async (attempt: number): Promise<void> => {
      try {
        const vault = await this.#startVault();
        await this.#startKeyholder(vault, 1);
        const slots = Array.from({ length: this.#options.workers }, (_, index) => index + 1);
        await Promise.all(slots.map((slot) => this.#startWorker(vault, slot)));
        await this.#retire(stale);
        await vault.request({ type: 'open' } satisfies ToVault, [], () => undefined, VAULT_START_TIMEOUT_MS);
        await this.#startMoreKeyholders(vault);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        if (this.#stopping) return;
        report(`the vault could not be started again (attempt ${attempt}): ${why}`);
        if (attempt >= 10) return this.#fail(error instanceof Error ? error : new Error(why));
        for (const child of this.#children.values()) if (!stale.includes(child)) child.signal('SIGKILL');
        this.#vault = undefined;
        await new Promise((resolve) => setTimeout(resolve, 500 * attempt));
        await restart(attempt + 1);
      }
    };
    void restart(1);
  }

  async #retire(children: readonly Child[]): Promise<void> {
    for (const child of children) child.signal('SIGTERM');
    const timer = setTimeout(() => {
      for (const child of children) child.signal('SIGKILL');
    }, STALE_DRAIN_MS);
    await Promise.all(children.map((child) => child.gone));
    clearTimeout(timer);
  }

  async #answer(message: FromVault): Promise<{ header: unknown }> {
    if (message.type === 'worker-ready') {
      this.#ready.get(message.name)?.();
      this.#ready.delete(message.name);
      return { header: {} };
    }
    if (message.type === 'exchanger') {
      return { header: { name: await this.#startExchanger() } satisfies z.infer<typeof ExchangerReply> };
    }
    if (message.type === 'processes') return { header: { processes: this.#processes() } };
    const child = this.#children.get(message.name);
    if (child) {
      report(`killing ${message.name}: ${message.reason}`);
      child.signal('SIGKILL');
      await child.gone;
    }
    return { header: {} };
  }

  #processes(): ProcessStatus[] {
    const isolation = this.#isolation.name;
    const self = {
      kind: 'supervisor' as const,
      name: 'supervisor',
      pid: process.pid,
      uid: process.getuid?.() ?? -1,
    };
    const children = [...this.#children.values()].map(({ kind, name, pid, uid }) => ({
      kind,
      name,
      pid,
      uid,
      isolation,
    }));
    return [{ ...self, isolation: 'none' }, ...children];
  }

  /** Has the vault dial the rendezvous for the named child; resolves with the socket to hand to that child. */
  async #dialled(vault: Channel, kind: Exclude<ChildKind, 'vault'>, name: string, journal: string | null) {
    const request: ToVault = { type: 'connect', kind, name, journal };
    return (await this.#join(() => vault.request(request, [], () => undefined, VAULT_START_TIMEOUT_MS)))
      .accepted;
  }

  #join<T>(dial: () => Promise<T>) {
    const join = this.#joining.then(async () => {
      const accepting = this.#rendezvous.accept();
      accepting.catch(() => {}); // where dialling fails first, that is the error to show
      const dialled = await dial();
      return { dialled, accepted: await accepting };
    });
    this.#joining = join.catch(() => {});
    return join;
  }

  async #spawn(
    kind: ChildKind,
    name: string,
    plan: Omit<Parameters<typeof startChild>[0], 'kind' | 'name' | 'entry' | 'programFolder'> & {
      onGone: (livedMs: number) => void;
    },
  ): Promise<Child> {
    const room = kind === 'worker' ? 'proxy' : kind;
    const entry = `${dirname(dirname(relative(PROGRAM_FOLDER, import.meta.filename)))}/${room}/main${EXTENSION}`;
    const child = await startChild(
      { ...plan, kind, name, entry, programFolder: PROGRAM_FOLDER },
      this.#isolation,
    );
    this.#children.set(name, child);
    void child.gone.then(() => {
      this.#children.delete(name);
      if (kind !== 'vault' && this.#vault && !this.#vault.closed) {
        this.#vault.event({ type: 'exit', name } satisfies ToVault);
      }
      plan.onGone(Date.now() - child.startedAt);
    });
    return child;
  }

  #name(of: string): string {
    const run = (this.#runs.get(of) ?? 0) + 1;
    this.#runs.set(of, run);
    return `${of}-${run}`;
  }

  #journal(of: string): { name: string; file: string } {
    const name = this.#name(of);
    const file = journalFileName(new Date(), name);
    if (!this.#started) this.#journals.push(journalPath(this.#options.data, file));
    return { name, file };
  }

  async #allGone(withinMs: number): Promise<void> {
    const timeout = new Promise<void>((resolve) => setTimeout(resolve, withinMs).unref());
    await Promise.race([Promise.all([...this.#children.values()].map((child) => child.gone)), timeout]);
  }
}

function report(line: string): void {
  process.stderr.write(`sallyport: ${line}\n`);
}

/** Throws hsm_pin_missing where the PIN's file cannot be read by whoever starts serve. */
export function checkPinFile(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (cause) {
    const message = `The PIN file ${path} cannot be read: name it with --pin-file.`;
    throw new SallyportError('hsm_pin_missing', message, { cause });
  }
}
