import type tls from 'node:tls';
import type { Test } from 'tap';
import { makeCa, makeServerCert } from './certificates.ts';
import { startTlsServer, type TlsServer } from './tls-server.ts';
import { type Ending, tcpUnder, Wire } from './wire.ts';
import { TestWorker, type WorkerOptions } from './worker.ts';

export const SECRET = 'sesame-open-0123456789abcdef';

/** What one end does or must see, byte for byte. `upstream` is the server's end of the newest connection to it. */
export type Step =
  | { readonly agent: string }
  | { readonly agentEnds: 'half' | 'abort' }
  | {
      readonly agentGets: string;
      /** May stand before it, any number of times. */
      readonly after?: string;
    }
  | { readonly agentSees: Ending }
  | { readonly upstream: string }
  | { readonly upstreamEnds: 'closed' | 'cut' | 'reset' }
  | { readonly upstreamGets: string }
  | { readonly upstreamSees: Ending | 'gone' }
  /** The next steps concern a connection that is opened to the server only now. */
  | { readonly newConnection: true }
  | { readonly wait: number };

/** One behaviour between an agent and a server: the requirement, and the bytes that show it. */
export interface CarryRow {
  readonly item: string;
  readonly says: string;
  readonly steps: readonly Step[];
}

/** What goes upstream after an agent's own fields. */
export const INJECTED = `Accept-Encoding: identity\r\nAuthorization: Bearer ${SECRET}\r\n\r\n`;

/** A real worker between raw agents and raw servers; each row has a host, and so connections, of its own. */
export class Carrier {
  readonly worker: TestWorker;
  readonly #server: TlsServer;
  readonly #waiting = new Map<string, ((wire: Wire) => void)[]>();
  readonly #accepted = new Map<string, Wire[]>();

  private constructor(worker: TestWorker, server: TlsServer) {
    this.worker = worker;
    this.#server = server;
  }

  static async start(hosts: readonly string[], options: Partial<WorkerOptions> = {}): Promise<Carrier> {
    const ca = makeCa();
    let carrier: Carrier | undefined;
    const server = await startTlsServer(makeServerCert(ca, hosts), (socket) => {
      if (carrier) carrier.#accept(socket);
    });
    const worker = await TestWorker.start({
      upstreams: Object.fromEntries(hosts.map((host) => [`${host}:443`, server.port])),
      upstreamCa: ca.cert,
      rules: hosts.map((host) => ({ host })),
      secrets: { 'credential-1': { token: SECRET } },
      ...options,
    });
    carrier = new Carrier(worker, server);
    return carrier;
  }

  /** A tunnel to `host`, as the agent holds it. */
  async agent(host: string): Promise<Wire> {
    return new Wire(await this.worker.tunnel(`${host}:443`));
  }

  /** The next connection that the proxy opens to `host`, as the server holds it. */
  upstream(host: string): Promise<Wire> {
    const accepted = this.#accepted.get(host)?.shift();
    if (accepted) return Promise.resolve(accepted);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no connection to ${host}`)), 3_000);
      const waiting = this.#waiting.get(host) ?? [];
      this.#waiting.set(host, waiting);
      waiting.push((wire) => {
        clearTimeout(timer);
        resolve(wire);
      });
    });
  }

  #accept(socket: tls.TLSSocket): void {
    const host = String(Reflect.get(socket, 'servername'));
    const wire = new Wire(socket);
    const waiting = this.#waiting.get(host)?.shift();
    if (waiting) waiting(wire);
    else this.#accepted.set(host, [...(this.#accepted.get(host) ?? []), wire]);
  }

  async stop(): Promise<void> {
    await this.worker.stop();
    await this.#server.close();
  }
}

/** Plays the row's steps and checks each; stops at the first that fails. */
export async function play(t: Test, carrier: Carrier, host: string, { item, says, steps }: CarryRow) {
  const agent = await carrier.agent(host);
  let upstream: Wire | undefined;
  const server = async (): Promise<Wire> => {
    upstream ??= await carrier.upstream(host);
    return upstream;
  };
  const problem = await (async () => {
    for (const [index, step] of steps.entries()) {
      const found = await take(step, agent, server, () => {
        upstream = undefined;
      });
      if (found) return { step: index, ...found };
    }
    return undefined;
  })();
  t.same(problem, undefined, `${item}: ${says}`);
  agent.socket.destroy();
  upstream?.socket.destroy();
}

async function take(
  step: Step,
  agent: Wire,
  server: () => Promise<Wire>,
  forget: () => void,
): Promise<{ expected: string; found: string } | undefined> {
  if ('agent' in step) agent.send(step.agent);
  else if ('agentGets' in step) {
    const { agentGets, after = '' } = step;
    let found = await read(agent, agentGets);
    while (after !== '' && found.startsWith(after))
      found = found.slice(after.length) + (await agent.read(after.length));
    return compare(agentGets, found);
  } else if ('agentSees' in step) return compareEnd(step.agentSees, agent);
  else if ('agentEnds' in step) step.agentEnds === 'half' ? agent.socket.end() : agent.socket.destroy();
  else if ('upstream' in step) (await server()).send(step.upstream);
  else if ('upstreamGets' in step)
    return compare(step.upstreamGets, await read(await server(), step.upstreamGets));
  else if ('upstreamSees' in step) return compareEnd(step.upstreamSees, await server());
  else if ('upstreamEnds' in step) await finish((await server()).socket, step.upstreamEnds);
  else if ('newConnection' in step) forget();
  else await new Promise((resolve) => setTimeout(resolve, step.wait));
  return undefined;
}

async function finish(socket: Wire['socket'], how: Ending): Promise<void> {
  await new Promise((resolve) => socket.write('', resolve)); // what was sent before is on its way
  if (how === 'closed') socket.end();
  else if (how === 'cut') socket.destroy();
  else tcpUnder(socket).resetAndDestroy();
}

function read(wire: Wire, expected: string): Promise<string> {
  return wire.read(expected.length);
}

function compare(expected: string, found: string) {
  return expected === found ? undefined : { expected, found };
}

async function compareEnd(expected: Ending | 'gone', wire: Wire) {
  const { ending, rest } = await wire.finish();
  if (rest === '' && (ending === expected || (expected === 'gone' && ending !== 'open'))) return undefined;
  return { expected, found: `${ending} after ${JSON.stringify(rest)}` };
}
