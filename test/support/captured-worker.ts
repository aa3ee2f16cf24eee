import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdtempSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { portOf } from './tls-server.ts';
import { WorkerPeer } from './worker-peer.ts';

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url));
const STAND_IN = fileURLToPath(new URL('captured-worker-main.ts', import.meta.url));

/** What became of an attempt: its value, or the code of the error that it met. */
export type Outcome = { readonly value: unknown } | { readonly code: string };

/**
 * A copy of the program whose worker is in an attacker's hand, who can run any code in it. Everything else is the real
 * thing: the real supervisor starts it, as the user and in the namespaces of a worker, with its descriptors.
 */
export class CapturedWorker {
  /** The copied program: what `serve` is to be started with. */
  readonly bin: string;
  /** Of the copied program, which the worker can read. */
  readonly folder: string;
  readonly #server: net.Server;
  readonly #vault = Promise.withResolvers<WorkerPeer>();
  readonly #commands = Promise.withResolvers<net.Socket>();
  readonly #waiting: ((outcome: Outcome) => void)[] = [];

  private constructor(folder: string, server: net.Server) {
    this.folder = folder;
    this.bin = join(folder, 'src/cli/bin.cjs');
    this.#server = server;
    server.on('connection', (socket) => void this.#accept(socket));
  }

  /** Captures the worker of a program that `copyProgram` made; one at a time. Remove it at the end. */
  static async prepare(folder: string): Promise<CapturedWorker> {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    writeFileSync(join(folder, 'src/captor.json'), JSON.stringify({ port: portOf(server) }));
    return new CapturedWorker(folder, server);
  }

  /** The worker's end of its channel to the vault. */
  get vault(): Promise<WorkerPeer> {
    return this.#vault.promise;
  }

  /** Runs a function in the worker; what it needs it must be given, or import. */
  async run<A extends readonly unknown[]>(action: (...given: A) => unknown, ...given: A): Promise<Outcome> {
    const socket = await this.#commands.promise;
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      socket.write(`${JSON.stringify({ action: action.toString(), given })}\n`);
    });
  }

  remove(): void {
    this.#server.close();
  }

  /** The first byte says which of its two connections it is. */
  async #accept(socket: net.Socket): Promise<void> {
    socket.on('error', () => {});
    const [first]: Buffer[] = await once(socket, 'data');
    const kind = String(first).charAt(0);
    const rest = first?.subarray(1);
    socket.pause();
    if (rest && rest.length > 0) socket.unshift(rest);
    if (kind === 'v') return this.#vault.resolve(new WorkerPeer(socket));
    let text = '';
    socket.on('data', (chunk) => {
      text += String(chunk);
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const outcome: Outcome = JSON.parse(text.slice(0, end));
        this.#waiting.shift()?.(outcome);
        text = text.slice(end + 1);
      }
    });
    socket.resume();
    this.#commands.resolve(socket);
  }
}

/** A copy of the program with the stand-in, where every user can reach it: a checkout may lie below closed folders. */
export function copyProgram(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-captured-'));
  chmodSync(folder, 0o755);
  for (const name of ['src', 'certs', 'package.json'])
    cpSync(join(CHECKOUT, name), join(folder, name), { recursive: true });
  const modules = join(CHECKOUT, 'node_modules');
  const linked = spawnSync('cp', ['-al', modules, folder], { stdio: 'ignore' }); // no bytes are copied
  if (linked.status !== 0) execFileSync('cp', ['-a', modules, folder]); // another file system
  cpSync(STAND_IN, join(folder, 'src/proxy/main.ts'));
  return folder;
}
