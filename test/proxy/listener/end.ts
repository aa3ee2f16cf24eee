import { once } from 'node:events';
import net from 'node:net';

/** How the other side finished: `end` in order, `reset` by TCP, `open` where it has not. */
export type Ending = 'end' | 'reset' | 'open';

const PATIENCE_MS = 3_000;

/** One end of a connection in a test: what arrives is kept until it is read. Text is Latin-1: a character is a byte. */
export class End {
  readonly socket: net.Socket;
  #arrived = Buffer.alloc(0);
  #ending: Ending = 'open';
  #changed: () => void = () => {};

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#arrived = Buffer.concat([this.#arrived, chunk]);
      this.#changed();
    });
    const finished = (how: Ending): void => {
      if (this.#ending === 'open') this.#ending = how;
      this.#changed();
    };
    socket.on('end', () => finished('end'));
    socket.on('error', () => finished('reset'));
    socket.on('close', () => finished('end'));
  }

  /** A new connection to that port of the loopback address. */
  static async connect(port: number): Promise<End> {
    const socket = net.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new End(socket);
  }

  send(text: string): void {
    this.socket.write(text, 'latin1');
  }

  /** The next `length` bytes; what there is where they do not come. */
  async read(length: number): Promise<string> {
    await this.#until(() => this.#arrived.length >= length);
    return this.#take(length);
  }

  /** All that arrives until and with `text`; what there is where it does not come. */
  async readTo(text: string): Promise<string> {
    await this.#until(() => this.#arrived.includes(text));
    const at = this.#arrived.indexOf(text);
    return this.#take(at < 0 ? this.#arrived.length : at + text.length);
  }

  /** What still arrives, and how it ends. */
  async finish(): Promise<{ rest: string; ending: Ending }> {
    await this.#until(() => false);
    return { rest: this.#take(this.#arrived.length), ending: this.#ending };
  }

  /** The status and our code of an answer after which the other side closes: "403 policy_denied end". */
  async refused(): Promise<string> {
    const { rest, ending } = await this.finish();
    const status = /^HTTP\/1\.1 (\d{3}) /.exec(rest)?.[1];
    const field = /\r\nX-Sallyport-Error: (\w+)\r\n/.exec(rest)?.[1];
    const body: unknown = JSON.parse(rest.slice(rest.indexOf('\r\n\r\n') + 4) || '{}');
    const code = Reflect.get(Object(body), 'code');
    return `${status} ${field === code ? field : `${field} is not ${code}`} ${ending}`;
  }

  #take(length: number): string {
    const taken = this.#arrived.subarray(0, length).toString('latin1');
    this.#arrived = this.#arrived.subarray(length);
    return taken;
  }

  async #until(done: () => boolean): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!done() && this.#ending === 'open' && performance.now() < deadline) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, deadline - performance.now());
        this.#changed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
