import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, createPublicKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { Channel } from '../../src/channel/channel.ts';
import {
  NO_LIMITS,
  type Rule,
  type ServiceLimits,
  type Snapshot,
} from '../../src/channel/messages/policy.ts';
import {
  FromWorker,
  MetricsReply,
  type ToWorker,
  type WorkerSecret,
  type WorkerSettings,
} from '../../src/channel/messages/worker.ts';
import { SallyportError } from '../../src/errors.ts';
import { parseSettings } from '../../src/settings.ts';
import { nodeFlags } from '../../src/supervisor/isolation/isolation.ts';
import { type Certificate, type CertificateAuthority, certify, makeCa } from './certificates.ts';

const MAIN = fileURLToPath(new URL('../../src/proxy/main.ts', import.meta.url));

export interface TestRule extends Partial<Omit<Rule, 'hosts' | 'limits'>> {
  readonly host: string;
  readonly port?: number;
  readonly limits?: Partial<ServiceLimits>;
}

export interface WorkerOptions {
  /** host:port → port on loopback. */
  readonly upstreams: Readonly<Record<string, number>>;
  readonly upstreamCa: string;
  readonly rules: readonly TestRule[];
  readonly secrets?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly limits?: Partial<WorkerSettings['limits']>;
  readonly hotSecrets?: Partial<WorkerSettings['hotSecrets']>;
  /** Whether it listens with TLS too: with a certificate that it asks for, or with this one. */
  readonly tls?: boolean | Certificate;
  /** Awaited before the listener gets a certificate: it may fail, or never come. */
  readonly beforeListenerLeaf?: () => Promise<void>;
  /** Asked before a secret is released: the error to answer with instead. */
  readonly refuse?: (asked: Extract<FromWorker, { type: 'secret' }>) => SallyportError | undefined;
  /** Blocks that may be dialled though they are not public; the loopback addresses unless given. */
  readonly upstreamAllow?: readonly string[];
  /** The proxy that leads out, and its password. */
  readonly upstreamProxy?: WorkerSettings['upstreamProxy'];
  readonly upstreamProxyPassword?: string;
  /** How many workers it is to believe that there are; one unless given. */
  readonly workers?: number;
  /** Options of the worker's Node. */
  readonly nodeOptions?: readonly string[];
}

/** A real worker process whose vault is this test: agent "bot" with one token, rules and secrets as given. */
export class TestWorker {
  readonly process: ChildProcess;
  readonly channel: Channel;
  readonly port: number;
  /** Of the TLS listener; 0 where there is none. */
  readonly tlsPort: number;
  readonly ca: CertificateAuthority;
  readonly token: string;
  readonly asked: FromWorker[] = [];
  readonly #folder: string;
  #snapshot: Snapshot;

  private constructor(
    process: ChildProcess,
    channel: Channel,
    port: number,
    tlsPort: number,
    ca: CertificateAuthority,
    token: string,
    folder: string,
    snapshot: Snapshot,
    asked: FromWorker[],
  ) {
    this.process = process;
    this.channel = channel;
    this.port = port;
    this.tlsPort = tlsPort;
    this.ca = ca;
    this.token = token;
    this.#folder = folder;
    this.#snapshot = snapshot;
    this.asked = asked;
  }

  static async start(options: WorkerOptions): Promise<TestWorker> {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-worker-'));
    const ca = makeCa('Agent Authority');
    const token = `spa_${randomBytes(32).toString('base64url')}`;
    const asked: FromWorker[] = [];
    const leavesPerMinute = options.limits?.leavesPerMinute ?? Number.POSITIVE_INFINITY;
    const path = join(folder, 'channel.sock');
    const server = net.createServer({ pauseOnConnect: true }).listen(path);
    await once(server, 'listening');
    const accepted = once(server, 'connection');
    const channel = await Channel.connect(path, async (header, parts) => {
      const message = FromWorker.parse(header);
      asked.push(message);
      if (message.type === 'leaf') {
        if (asked.filter(({ type }) => type === 'leaf').length > leavesPerMinute)
          throw new SallyportError('rate_limited', 'Too many certificates.');
        const key = createPublicKey({ key: Buffer.from(parts[1] ?? []), format: 'der', type: 'spki' });
        const chain = Buffer.from(certify(ca, message.host, key));
        return { header: { notAfter: Date.now() + 3_600_000 }, parts: [chain, ticketKeys(message)] };
      }
      if (message.type === 'listener-leaf') {
        const key = createPublicKey({ key: Buffer.from(parts[0] ?? []), format: 'der', type: 'spki' });
        await options.beforeListenerLeaf?.();
        const chain = Buffer.from(certify(ca, ['proxy.test', '127.0.0.1'], key));
        return { header: { notAfter: Date.now() + 3_600_000 }, parts: [chain] };
      }
      if (message.type === 'secret') {
        const refusal = options.refuse?.(message);
        if (refusal) throw refusal;
        const fields = options.secrets?.[message.credential];
        if (!fields) throw new SallyportError('hsm_unavailable', 'The key store is not answering.');
        const names = Object.keys(fields).map((name) => ({ name, secret: true }));
        return { header: { fields: names }, parts: Object.values(fields).map((value) => Buffer.from(value)) };
      }
      return { header: {} };
    });
    const [socket]: net.Socket[] = await accepted;
    if (!socket) throw new Error('no connection');
    const journal = openSync(join(folder, 'journal.ndjson'), 'ax', 0o600);
    const child = spawn(
      process.execPath,
      [...nodeFlags('worker'), ...(options.nodeOptions ?? []), MAIN, '--journal', 'journal.ndjson'],
      {
        env: { GLIBC_TUNABLES: 'glibc.malloc.perturb=90' },
        stdio: [journal, 2, 2, socket],
      },
    );
    closeSync(journal);
    socket.destroy();
    server.close();
    const port = await freePort();
    const tlsPort = options.tls ? await freePort() : 0;
    const secrets: [WorkerSecret, string][] = [];
    if (typeof options.tls === 'object') secrets.push(['tlsKey', options.tls.key]);
    const { upstreamProxyPassword: password } = options;
    if (password !== undefined) secrets.push(['upstreamProxyPassword', password]);
    const hash = createHash('sha256').update(token).digest('hex');
    const snapshot: Snapshot = {
      revision: 1,
      integrity: null,
      unread: null,
      listenerAuthority: 'proxy',
      agents: [
        { id: 'agent-1', name: 'bot', tokens: [hash], unlisted: 'deny', authority: '1', integrity: null },
      ],
      rules: options.rules.map(toRule),
    };
    const start: ToWorker = {
      type: 'start',
      worker: 'worker-1',
      settings: settings(options, port, tlsPort),
      snapshot,
      secrets: secrets.map(([name]) => name),
    };
    const parts = secrets.map(([, value]) => Buffer.from(value));
    await channel.request(start, parts, () => undefined, 10_000);
    return new TestWorker(child, channel, port, tlsPort, ca, token, folder, snapshot, asked);
  }

  get journal(): string {
    return readFileSync(join(this.#folder, 'journal.ndjson'), 'utf8');
  }

  /** Changes the policy and waits until it is in force. */
  async change(change: (snapshot: Snapshot) => Partial<Snapshot>): Promise<void> {
    this.#snapshot = { ...this.#snapshot, ...change(this.#snapshot), revision: this.#snapshot.revision + 1 };
    await this.channel.request(
      { type: 'snapshot', snapshot: this.#snapshot } satisfies ToWorker,
      [],
      () => undefined,
      5_000,
    );
  }

  /** What the worker has counted. */
  metrics(): Promise<MetricsReply> {
    const asked = { type: 'metrics' } satisfies ToWorker;
    return this.channel.request(asked, [], (header) => MetricsReply.parse(header), 5_000);
  }

  /** CONNECT, answered 200, as a raw socket; throws with the answer's first line otherwise. */
  async connect(authority: string, user = `bot:${this.token}`): Promise<net.Socket> {
    const socket = net.connect(this.port, '127.0.0.1');
    await once(socket, 'connect');
    const credentials = Buffer.from(user).toString('base64');
    socket.write(
      `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\nProxy-Authorization: Basic ${credentials}\r\n\r\n`,
    );
    const [answer]: Buffer[] = await once(socket, 'data');
    const line = answer?.toString('latin1').split('\r\n')[0] ?? '';
    if (!line.includes(' 200 ')) {
      socket.destroy();
      throw new Error(line);
    }
    return socket;
  }

  /** A TLS session inside a tunnel, verified against the agent's authority. */
  async tunnel(authority: string, options: tls.ConnectionOptions = {}): Promise<tls.TLSSocket> {
    const socket = await this.connect(authority);
    const servername = authority.replace(/:\d+$/, '');
    const secure = tls.connect({
      socket,
      servername,
      ca: this.ca.cert,
      ALPNProtocols: ['http/1.1'],
      ...options,
    });
    await once(secure, 'secureConnect');
    return secure;
  }

  async stop(): Promise<void> {
    const gone = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    this.channel.close();
    await gone;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function toRule({ host, port = 443, limits, ...rest }: TestRule, index: number): Rule {
  return {
    id: `rule-${index + 1}`,
    agent: 'agent-1',
    service: 'service',
    credential: 'credential-1',
    version: 1,
    methods: [],
    paths: [],
    inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }],
    plainHttp: false,
    http2: false,
    limits: { ...NO_LIMITS, ...limits },
    integrity: null,
    ...rest,
    hosts: [{ pattern: host, port, paths: [] }],
  };
}

function settings(options: WorkerOptions, port: number, tlsPort: number): WorkerSettings {
  const certificate = typeof options.tls === 'object' ? options.tls.cert : null;
  const resolve = Object.entries(options.upstreams).map(([name, toPort]) => {
    const colon = name.lastIndexOf(':');
    return { host: name.slice(0, colon), port: Number(name.slice(colon + 1)), address: '127.0.0.1', toPort };
  });
  return {
    listen: { host: '127.0.0.1', port },
    workers: options.workers ?? 1,
    tlsListen: tlsPort ? { host: '127.0.0.1', port: tlsPort, names: ['proxy.test'], certificate } : null,
    upstreamCa: options.upstreamCa,
    systemCa: '',
    upstreamResolve: resolve,
    upstreamAllow: options.upstreamAllow ? [...options.upstreamAllow] : ['127.0.0.0/8'],
    upstreamProxy: options.upstreamProxy ?? null,
    ownListeners: [{ host: '127.0.0.1', port }],
    hotSecrets: { count: 100, maxAgeMs: 300_000, arenaBytes: 1 << 20, ...options.hotSecrets },
    limits: { ...parseSettings({}).limits, tunnelsPerAgent: 20_000, ...options.limits },
  };
}

function ticketKeys({ agent, host }: { agent: string; host: string }): Buffer {
  return Buffer.from(createHash('sha384').update(`${agent} ${host}`).digest());
}

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
