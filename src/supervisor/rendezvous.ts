import { chownSync, closeSync, constants, openSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import { SallyportError } from '../errors.ts';

const ACCEPT_TIMEOUT_MS = 5_000;

/**
 * Joins two processes by a socket of which the supervisor never reads a byte: one side dials this Unix socket, the
 * accepted end goes, paused and unread, to a new child as its descriptor 3. Both sides can so read into one fixed
 * buffer (`onread` needs a dialled or inherited socket), and a child that is started again gets a fresh channel to
 * a vault that is running, which a socketpair made at the vault's start could not give.
 */
export class Rendezvous {
  readonly path: string;
  readonly #server: net.Server;
  readonly #folder: number;
  readonly #waiting: ((socket: net.Socket) => void)[] = [];
  /** Joins of two processes go one at a time: the next socket accepted is the one asked for. */
  #joining: Promise<unknown> = Promise.resolve();

  private constructor(path: string, server: net.Server, folder: number) {
    this.path = path;
    this.#server = server;
    this.#folder = folder;
    server.on('connection', (socket) => {
      const take = this.#waiting.shift();
      if (take) take(socket);
      else socket.destroy(); // nobody asked: not one of ours
    });
  }

  /** Listens at `folder/rendezvous.sock`, dialable by `owner` alone (and root). Throws what listen throws. */
  static async open(folder: string, owner: number): Promise<Rendezvous> {
    // Through a descriptor, since a Unix socket's path ends at 107 bytes and a data folder's need not.
    const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    const path = `/proc/self/fd/${descriptor}/rendezvous.sock`;
    try {
      unlinkSync(path);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
    const server = net.createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    if (owner !== process.getuid?.()) chownSync(path, owner, owner);
    return new Rendezvous(path, server, descriptor);
  }

  /** Has `dial` dial the socket; resolves with what it gives and the accepted end. Throws what it throws, channel_timeout. */
  join<T>(dial: () => Promise<T>): Promise<{ dialled: T; accepted: net.Socket }> {
    const join = this.#joining.then(async () => {
      const accepting = this.#accept();
      accepting.socket.catch(() => {}); // where dialling fails first, that is the error to show
      try {
        const dialled = await dial();
        return { dialled, accepted: await accepting.socket };
      } catch (error) {
        accepting.end(); // else the next one's socket would be taken for this one's
        throw error;
      }
    });
    this.#joining = join.catch(() => {});
    return join;
  }

  /** The socket of the next one to dial; `end` waits for it no longer. */
  #accept(): { readonly socket: Promise<net.Socket>; end(): void } {
    const { promise, resolve, reject } = Promise.withResolvers<net.Socket>();
    const take = (socket: net.Socket): void => {
      clearTimeout(timer);
      resolve(socket);
    };
    const end = (): void => {
      clearTimeout(timer);
      const at = this.#waiting.indexOf(take);
      if (at >= 0) this.#waiting.splice(at, 1);
    };
    const timer = setTimeout(() => {
      end();
      reject(new SallyportError('channel_timeout', 'A process did not open its channel in time.'));
    }, ACCEPT_TIMEOUT_MS);
    this.#waiting.push(take);
    return { socket: promise, end };
  }

  close(): void {
    this.#server.close();
    closeSync(this.#folder);
  }
}
