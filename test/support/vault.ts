import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Channel } from '../../src/channel/channel.ts';
import { FromVault, type ToVault } from '../../src/channel/messages/supervisor.ts';
import type { WorkerSettings } from '../../src/channel/messages/worker.ts';
import { SallyportError } from '../../src/errors.ts';
import { encodeFields } from '../../src/sealing/fields.ts';
import { credentialAad, INFO } from '../../src/sealing/intake.ts';
import { seal } from '../../src/sealing/seal.ts';
import { parseSettings } from '../../src/settings.ts';
import { createStore } from '../../src/store/open.ts';
import { makeToken, type SoftHsm } from './softhsm.ts';
import { WorkerPeer } from './worker-peer.ts';

const VAULT = fileURLToPath(new URL('../../src/vault/main.ts', import.meta.url));
const EXCHANGER = fileURLToPath(new URL('../../src/exchanger/main.ts', import.meta.url));
const KEYHOLDER = fileURLToPath(new URL('../../src/keyholder/main.ts', import.meta.url));

/** A data folder, a token and a rendezvous: what outlives a vault. Remove it at the end. */
export interface Installation {
  readonly folder: string;
  readonly database: string;
  readonly hsm: SoftHsm;
  remove(): void;
}

export async function install(): Promise<Installation> {
  const { hsm } = makeToken();
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-vault-'));
  mkdirSync(join(folder, 'vault'), { mode: 0o700 });
  mkdirSync(join(folder, 'journal'), { mode: 0o700 });
  const database = join(folder, 'vault', 'sallyport.db');
  await createStore(database);
  const remove = (): void => {
    hsm.remove();
    rmSync(folder, { recursive: true, force: true });
  };
  return { folder, database, hsm, remove };
}

/** A service whose host is not real; its one secret field goes into a header. */
export const ACME = {
  id: 'acme',
  hosts: [{ pattern: 'api.acme.example' }],
  auth: { inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }] },
  fields: [{ key: 'token' }],
};

export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever the API answers.
  readonly body: any;
}

/** The real vault process with a real keyholder on SoftHSM; this test is their supervisor, and plays the workers. */
export class TestVault {
  readonly process: ChildProcess;
  readonly installation: Installation;
  readonly killed: { name: string; reason: string }[] = [];
  readonly ready: string[] = [];
  /** False: asked to kill, the supervisor fails. */
  killing = true;
  stderr = '';
  keyholder: ChildProcess | undefined;
  readonly #channel: Channel;
  readonly #server: net.Server;
  readonly #rendezvous: string;
  readonly #workers = new Map<string, WorkerPeer>();
  #runs = 0;

  private constructor(
    installation: Installation,
    process: ChildProcess,
    channel: Channel,
    server: net.Server,
    rendezvous: string,
  ) {
    this.installation = installation;
    this.process = process;
    this.#channel = channel;
    this.#server = server;
    this.#rendezvous = rendezvous;
  }

  /** Starts a vault on the installation, with its keyholder and listening unless told not to. */
  static async start(
    installation: Installation,
    {
      keyholder = true,
      open = true,
      names = [] as string[],
      authorityKeys = 'wrapped' as 'wrapped' | 'hsm',
      worker = {} as Partial<WorkerSettings>,
      anchorFile = null as string | null,
      /** How many days later than now the vault is to believe it is. */
      daysAhead = 0,
    } = {},
  ): Promise<TestVault> {
    const rendezvous = join(installation.folder, 'vault', 'rendezvous.sock');
    rmSync(rendezvous, { force: true });
    const server = net.createServer({ pauseOnConnect: true }).listen(rendezvous);
    await once(server, 'listening');
    let vault: TestVault | undefined;
    const accepted = accept(server);
    const channel = await Channel.connect(
      rendezvous,
      (header) => vault?.answer(FromVault.parse(header)) ?? { header: {} },
    );
    const file = `${new Date().toISOString().replace(/[-:.]/g, '')}-vault-1.ndjson`;
    const journal = openSync(
      join(installation.folder, 'journal', file),
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_APPEND,
      0o600,
    );
    const data = openSync(join(installation.folder, 'vault'), constants.O_RDONLY | constants.O_DIRECTORY);
    const socket = await accepted;
    const clock = `const now = Date.now; Date.now = () => now() + ${daysAhead * 86_400_000};`;
    const later = daysAhead === 0 ? [] : [`--import=data:text/javascript,${encodeURIComponent(clock)}`];
    const child = spawn(process.execPath, ['--disable-sigusr1', ...later, VAULT, '--journal', file], {
      stdio: [journal, 'inherit', 'pipe', socket, data],
      env: { GLIBC_TUNABLES: 'glibc.malloc.perturb=90' }, // as the supervisor does
      cwd: '/',
    });
    closeSync(journal);
    closeSync(data);
    socket.destroy();
    vault = new TestVault(installation, child, channel, server, rendezvous);
    child.stderr?.on('data', (chunk) => {
      if (vault) vault.stderr += String(chunk);
    });
    await vault.tell({
      type: 'start',
      anchorFile,
      rendezvous: '/proc/self/fd/4/rendezvous.sock',
      control: '/proc/self/fd/4/control.sock',
      database: '/proc/self/fd/4/sallyport.db',
      api: { host: '127.0.0.1', port: 0 },
      authorityKeys,
      keepVersions: 2,
      keyholders: 1,
      previousJournal: null,
      isolation: 'none',
      secrets: [],
      worker: {
        workers: 1,
        listen: { host: '127.0.0.1', port: 7080 },
        tlsListen: names.length > 0 ? { host: '127.0.0.1', port: 7443, names, certificate: null } : null,
        upstreamCa: '',
        systemCa: '',
        upstreamResolve: [],
        upstreamAllow: [],
        upstreamProxy: null,
        ownListeners: [],
        hotSecrets: { count: 10, maxAgeMs: 300_000, arenaBytes: 65_536 },
        limits: parseSettings({}).limits,
        ...worker,
      },
    });
    if (keyholder) await vault.startKeyholder();
    if (!open) return vault;
    await vault.tell({ type: 'open' });
    if (keyholder)
      await vault.until('the policy is read', async () => (await vault?.get('/v1/agents'))?.status === 200);
    return vault;
  }

  tell(message: ToVault): Promise<void> {
    return this.#channel.request(message, [], () => undefined, 20_000);
  }

  async startKeyholder(): Promise<void> {
    this.#runs += 1;
    const accepted = accept(this.#server);
    const name = `keyholder-${this.#runs}`;
    await this.tell({ type: 'connect', kind: 'keyholder', name, journal: null });
    const socket = await accepted;
    const { hsm } = this.installation;
    const pin = openSync(hsm.pinFile, constants.O_RDONLY);
    const folder = openSync(hsm.folder, constants.O_RDONLY | constants.O_DIRECTORY);
    this.keyholder = spawn(
      process.execPath,
      ['--disable-sigusr1', KEYHOLDER, '--module', hsm.module, '--token', hsm.label],
      {
        stdio: [pin, 'inherit', 'inherit', socket, folder],
        env: { SOFTHSM2_CONF: '/proc/self/fd/4/softhsm2.conf' },
      },
    );
    closeSync(pin);
    closeSync(folder);
    socket.destroy();
  }

  /** Exchangers that run now, and how many there have been. */
  readonly exchangers = new Map<string, ChildProcess>();
  exchanged = 0;

  async #startExchanger(): Promise<string> {
    this.exchanged += 1;
    const name = `exchanger-${this.exchanged}`;
    const accepted = accept(this.#server);
    await this.tell({ type: 'connect', kind: 'exchanger', name, journal: null });
    const socket = await accepted;
    const child = spawn(process.execPath, ['--disable-sigusr1', EXCHANGER], {
      stdio: ['ignore', 'inherit', 'inherit', socket],
      env: {},
      cwd: '/',
    });
    socket.destroy();
    this.exchangers.set(name, child);
    child.once('exit', () => this.exchangers.delete(name));
    return name;
  }

  /** Plays a worker: connected, started, and answering unless told otherwise. */
  async worker(name = `worker-${this.#workers.size + 1}-1`): Promise<WorkerPeer> {
    const accepted = accept(this.#server);
    await this.tell({ type: 'connect', kind: 'worker', name, journal: `${name}.ndjson` });
    const peer = new WorkerPeer(await accepted);
    this.#workers.set(name, peer);
    await this.until(`${name} is ready`, () => this.ready.includes(name));
    return peer;
  }

  async answer(message: FromVault): Promise<{ header: unknown }> {
    if (message.type === 'worker-ready') this.ready.push(message.name);
    if (message.type === 'exchanger') return { header: { name: await this.#startExchanger() } };
    if (message.type === 'processes') return { header: { processes: [] } };
    if (message.type === 'kill') {
      if (!this.killing) throw new SallyportError('internal', 'The test does not let it be killed.');
      this.killed.push({ name: message.name, reason: message.reason });
      this.#workers.get(message.name)?.close();
      if (message.name.startsWith('keyholder')) this.keyholder?.kill('SIGKILL');
      else if (message.name.startsWith('exchanger')) this.exchangers.get(message.name)?.kill('SIGKILL');
      else this.#channel.event({ type: 'exit', name: message.name } satisfies ToVault);
    }
    return { header: {} };
  }

  get(path: string): Promise<Answer> {
    return this.call('GET', path);
  }

  async call(method: string, path: string, body?: unknown): Promise<Answer> {
    const response = await this.open(method, path, body);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString('utf8');
    return { status: response.statusCode ?? 0, body: text === '' ? null : JSON.parse(text) };
  }

  /** The answer, its body unread. */
  async open(method: string, path: string, body?: unknown): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const socketPath = join(this.installation.folder, 'vault', 'control.sock');
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const sent = request({ socketPath, method, path, headers, agent: false }, resolve);
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    return promise;
  }

  /** Adds an agent with a fresh token. */
  async addAgent(name: string): Promise<{ id: string; token: Buffer; ca: string }> {
    const token = Buffer.from(`spa_${randomBytes(32).toString('base64url')}`);
    const { status, body } = await this.call('POST', '/v1/agents', { name, tokenHash: sha256(token) });
    if (status !== 200) throw new Error(JSON.stringify(body));
    return { id: body.id, token, ca: body.ca };
  }

  /** Seals and sets a credential as the command line does. */
  async setCredential(
    service: string,
    secrets: Readonly<Record<string, string | Buffer>>,
    { label = 'default', agents = [] as string[], publicFields = {} } = {},
  ): Promise<Answer> {
    const sealed = await this.seal(service, label, secrets);
    return this.call('PUT', '/v1/credentials', { service, label, publicFields, sealed, agents });
  }

  /** What the command line would send for these secrets. */
  async seal(service: string, label: string, secrets: Readonly<Record<string, string | Buffer>>) {
    const intakeKey = Buffer.from((await this.get('/v1/intake')).body.publicKey, 'hex');
    const fields = Object.entries(secrets).map(([name, value]) => ({ name, value: Buffer.from(value) }));
    const box = seal(intakeKey, INFO, credentialAad(service, label), encodeFields(fields));
    return { enc: box.enc.toString('base64'), ciphertext: box.ciphertext.toString('base64') };
  }

  /** The vault's journals, oldest first, links left out. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever is recorded.
  journal(): any[] {
    const folder = join(this.installation.folder, 'journal');
    const lines = readdirSync(folder)
      .sort()
      .flatMap((file) => readFileSync(join(folder, file), 'utf8').trim().split('\n'));
    return lines.filter((line) => line !== '' && !line.startsWith('{"link"')).map((line) => JSON.parse(line));
  }

  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    for (let waited = 0; !(await holds()); waited += 20) {
      const { signalCode, exitCode } = this.process;
      const ended = signalCode ?? exitCode;
      if (waited > 8_000 || ended !== null) {
        const running = ended === null ? '' : ` The vault has ended (${ended}).`;
        throw new Error(`It never came to this: ${what}.${running} ${this.stderr}`);
      }
      await delay(20);
    }
  }

  /** Loses the supervisor's end of the channel, as when the supervisor dies. */
  async orphan(): Promise<number | null> {
    this.#channel.close();
    return this.#ended();
  }

  /** Ends the vault in order; resolves with its exit code. */
  async stop(): Promise<number | null> {
    const peers = [...this.#workers.values()].filter((peer) => !peer.closed && peer.answering);
    this.#channel.event({ type: 'drain' } satisfies ToVault);
    if (!this.#channel.closed)
      await this.until('the workers are told', () => peers.every((peer) => peer.drained));
    for (const peer of peers) peer.close();
    for (const name of this.#workers.keys()) this.#channel.event({ type: 'exit', name } satisfies ToVault);
    return this.#ended();
  }

  /** Ends the vault as a crash does. */
  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    for (const peer of this.#workers.values()) peer.close();
    await this.#ended();
  }

  async #ended(): Promise<number | null> {
    if (this.process.exitCode === null && this.process.signalCode === null) await once(this.process, 'exit');
    this.#channel.close();
    this.#server.close();
    rmSync(this.#rendezvous, { force: true });
    const { keyholder } = this;
    if (keyholder && keyholder.exitCode === null && keyholder.signalCode === null)
      await once(keyholder, 'exit');
    return this.process.exitCode;
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function accept(server: net.Server): Promise<net.Socket> {
  const [socket]: unknown[] = await once(server, 'connection');
  if (!(socket instanceof net.Socket)) throw new Error('no socket was accepted');
  return socket;
}
