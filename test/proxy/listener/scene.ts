import net from 'node:net';
import tls from 'node:tls';
import type { Test } from 'tap';
import { makeCa, makeServerCert } from '../../support/certificates.ts';
import { portOf } from '../../support/tls-server.ts';
import { TestWorker, type WorkerOptions } from '../../support/worker.ts';
import { End } from './end.ts';

export const SECRET = 'sesame-open-0123456789abcdef';

/** A real worker, and a raw server for each `host:port`; connections are told apart by where they were meant to go. */
export interface Scene {
  readonly worker: TestWorker;
  /** A connection to the worker's port. */
  agent(): Promise<End>;
  /** The next connection that the worker opened to the server of that `host:port`, its TLS (if any) ended. */
  upstream(authority: string): Promise<End>;
  /** How many connections to it have not been asked for yet. */
  waiting(authority: string): number;
  /** Closes those connections. */
  forget(): void;
  /** `Proxy-Authorization: Basic …` and CRLF. */
  readonly authorization: string;
}

export interface SceneOptions extends Partial<Omit<WorkerOptions, 'upstreams' | 'upstreamCa'>> {
  /** Servers that speak TLS, as `host:port`; each has a rule unless `rules` is given. */
  readonly secure?: readonly string[];
  /** Servers that speak without. */
  readonly plain?: readonly string[];
}

export async function startScene(t: Test, options: SceneOptions): Promise<Scene> {
  const { secure = [], plain = [], ...rest } = options;
  const ca = makeCa();
  const accepted = new Map<string, End[]>();
  const arrivals = new Map<string, () => void>();
  const upstreams: Record<string, number> = {};
  const take = (authority: string, socket: net.Socket): void => {
    const ends = accepted.get(authority) ?? [];
    accepted.set(authority, [...ends, new End(socket)]);
    arrivals.get(authority)?.();
  };
  for (const authority of [...secure, ...plain]) {
    const host = authority.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
    const raw = new Set<net.Socket>();
    const server = secure.includes(authority)
      ? tls.createServer({ ...makeServerCert(ca, host), ALPNProtocols: ['http/1.1'] }, (socket) =>
          take(authority, socket),
        )
      : net.createServer({ allowHalfOpen: true }, (socket) => take(authority, socket));
    server.on('connection', (socket: net.Socket) => raw.add(socket));
    server.on('tlsClientError', () => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => {
      for (const socket of raw) socket.destroy();
      server.close();
    });
    upstreams[authority] = portOf(server);
  }
  const worker = await TestWorker.start({
    upstreams,
    upstreamCa: ca.cert,
    rules: secure.map((authority) => ({
      host: authority.replace(/:\d+$/, ''),
      port: Number(authority.replace(/^.*:/, '')),
    })),
    secrets: { 'credential-1': { token: SECRET } },
    ...rest,
  });
  t.teardown(() => worker.stop());
  const credentials = Buffer.from(`bot:${worker.token}`).toString('base64');
  return {
    worker,
    authorization: `Proxy-Authorization: Basic ${credentials}\r\n`,
    agent: async () => {
      const end = await End.connect(worker.port);
      t.teardown(() => end.socket.destroy());
      return end;
    },
    waiting: (authority) => accepted.get(authority)?.length ?? 0,
    forget: () => {
      for (const ends of accepted.values()) for (const { socket } of ends) socket.destroy();
      accepted.clear();
    },
    upstream: async (authority) => {
      const deadline = performance.now() + 3_000;
      for (;;) {
        const [end, ...others] = accepted.get(authority) ?? [];
        if (end) {
          accepted.set(authority, others);
          return end;
        }
        if (performance.now() > deadline) throw new Error(`nothing was opened to ${authority}`);
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, 100);
          arrivals.set(authority, () => {
            clearTimeout(timer);
            resolve();
          });
        });
      }
    },
  };
}

/** CONNECT as agent "bot"; the answer is to be read. */
export async function connect(scene: Scene, authority: string): Promise<End> {
  const agent = await scene.agent();
  agent.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${scene.authorization}\r\n`);
  return agent;
}

export const ESTABLISHED = 'HTTP/1.1 200 Connection established\r\n\r\n';

/** A tunnel to `host`, port 443, its TLS ended by the test. */
export async function tunnel(scene: Scene, host: string): Promise<End> {
  return new End(await scene.worker.tunnel(`${host}:443`));
}
