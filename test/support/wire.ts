import net from 'node:net';

/** How the other end finished: `closed` after a TLS close_notify, `cut` without one, `reset` by TCP. */
export type Ending = 'closed' | 'cut' | 'reset';

const PATIENCE_MS = 3_000;

/** One end of a TLS connection in a test: what arrives is read byte by byte, and nothing is thrown away. */
export class Wire {
  readonly socket: net.Socket;
  #arrived = Buffer.alloc(0);
  #ending: Ending | undefined;
  #changed: () => void = () => {};
  /** Of the TCP connection, at the last data: a close_notify is bytes, an end without one is not. */
  #rawBytes = 0;
  #unsampled = false;

  constructor(socket: net.Socket) {
    this.socket = socket;
    const raw = tcpUnder(socket);
    const bytesRead = (): number => raw.bytesRead;
    socket.on('data', (chunk: Buffer) => {
      this.#arrived = Buffer.concat([this.#arrived, chunk]);
      // Data and close_notify that came together are told of in one turn.
      if (!this.#unsampled) {
        this.#unsampled = true;
        setImmediate(() => {
          this.#unsampled = false;
          this.#rawBytes = bytesRead();
        });
      }
      this.#changed();
    });
    const end = (how: Ending): void => {
      this.#ending ??= how;
      this.#changed();
    };
    socket.on('end', () => end(this.#unsampled || bytesRead() > this.#rawBytes ? 'closed' : 'cut'));
    socket.on('error', () => end('reset'));
    socket.on('close', () => end('cut'));
  }

  send(text: string): void {
    this.socket.write(text, 'latin1');
  }

  /** The next `length` bytes as Latin-1; what there is when they do not come. */
  async read(length: number, withinMs = PATIENCE_MS): Promise<string> {
    await this.#until(() => this.#arrived.length >= length || this.#ending !== undefined, withinMs);
    return this.#take(length);
  }

  /** All that arrives until and with `text`; what there is when it does not come. */
  async readTo(text: string, withinMs = PATIENCE_MS): Promise<string> {
    await this.#until(() => this.#arrived.includes(text) || this.#ending !== undefined, withinMs);
    const at = this.#arrived.indexOf(text);
    return this.#take(at < 0 ? this.#arrived.length : at + text.length);
  }

  /** How the other end finished and what came before that; `open` where it does not within the time. */
  async finish(withinMs = PATIENCE_MS): Promise<{ ending: Ending | 'open'; rest: string }> {
    await this.#until(() => this.#ending !== undefined, withinMs);
    return { ending: this.#ending ?? 'open', rest: this.#take(this.#arrived.length) };
  }

  #take(length: number): string {
    const taken = this.#arrived.subarray(0, length).toString('latin1');
    this.#arrived = this.#arrived.subarray(length);
    return taken;
  }

  async #until(done: () => boolean, withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    while (!done() && performance.now() < deadline) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(1, deadline - performance.now()));
        this.#changed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** The TCP socket under a TLS socket. */
export function tcpUnder(socket: net.Socket): net.Socket {
  const parent: unknown = Reflect.get(socket, '_parent');
  return parent instanceof net.Socket ? parent : socket;
}
