import net from 'node:net';
import { isErrorCode, SallyportError } from '../errors.ts';
import { encodeFrame, type Frame, FrameReader, KIND, type Kind } from './frame.ts';

/** What a handler answers: a JSON header and, for bytes and secrets, parts (wiped once they are sent). */
export interface Reply {
  readonly header: unknown;
  readonly parts?: readonly Uint8Array[];
}

/** Answers a request. `frame.parts` are valid only until the first `await`: copy what must live longer. */
export type Handler = (header: unknown, parts: readonly Buffer[]) => Promise<Reply> | Reply;

interface Waiting {
  readonly take: (frame: Frame) => void;
  readonly fail: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * One end of a channel between two processes: requests with replies both ways, and events without one.
 * Reads go through one fixed buffer that is wiped after each read: ordinary `data` events left 50 of 200 secrets
 * behind even when wiped, this leaves none (measured, ARCHITECTURE.md).
 */
export class Channel {
  readonly #socket: net.Socket;
  readonly #handler: Handler;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #closed = false;
  /** Called once, when the other side is gone or broke the format. */
  onClose: (error: Error | undefined) => void = () => {};

  private constructor(socket: net.Socket, handler: Handler) {
    this.#socket = socket;
    this.#handler = handler;
    socket.on('error', (error) => this.#shut(error));
    socket.on('close', () => this.#shut(undefined));
  }

  /** The inherited descriptor `fd` (3 in every process that the supervisor starts). */
  static fromDescriptor(fd: number, handler: Handler): Channel {
    return Channel.#open(handler, (onread) => new net.Socket({ fd, readable: true, writable: true, onread }));
  }

  /** Connects to the Unix socket at `path`; resolves once connected, rejects with the socket's error. */
  static connect(path: string, handler: Handler): Promise<Channel> {
    return new Promise((resolve, reject) => {
      const channel = Channel.#open(handler, (onread) => {
        const socket = new net.Socket({ onread });
        socket.once('error', reject);
        socket.connect(path, () => resolve(channel));
        return socket;
      });
    });
  }

  static #open(handler: Handler, make: (onread: net.OnReadOpts) => net.Socket): Channel {
    const buffer = Buffer.allocUnsafeSlow(64 * 1024);
    const reader = new FrameReader((frame) => channel.#receive(frame));
    const callback = (count: number): boolean => {
      const bytes = buffer.subarray(0, count);
      try {
        reader.push(bytes);
      } catch (error) {
        channel.close(error instanceof Error ? error : new Error(String(error)));
      } finally {
        bytes.fill(0);
      }
      return true;
    };
    const channel: Channel = new Channel(make({ buffer, callback }), handler);
    return channel;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Asks the other side and hands its answer to `take` while the parts are still valid; resolves with what `take`
   * returns. `wipe`: the parts are secret and are zeroed here once copied. Throws the other side's SallyportError,
   * `channel_timeout` after `timeoutMs`, `channel_closed`.
   */
  request<T>(
    header: unknown,
    parts: readonly Uint8Array[],
    take: (header: unknown, parts: readonly Buffer[]) => T,
    timeoutMs: number,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#closed) {
        reject(new SallyportError('channel_closed', 'The other process is gone; it is being started again.'));
        return;
      }
      const id = this.#nextId;
      this.#nextId = id === 0xffffffff ? 1 : id + 1;
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(
          new SallyportError('channel_timeout', `The other process did not answer within ${timeoutMs} ms.`),
        );
      }, timeoutMs);
      this.#waiting.set(id, {
        take: (frame) => {
          try {
            if (frame.kind === KIND.failure) reject(readFailure(frame.header));
            else resolve(take(frame.header, frame.parts));
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        },
        fail: reject,
        timer,
      });
      this.#send(id, KIND.request, header, parts);
    });
  }

  /** Sends a message that has no answer. */
  event(header: unknown, parts: readonly Uint8Array[] = []): void {
    if (!this.#closed) this.#send(0, KIND.event, header, parts);
  }

  close(error?: Error): void {
    this.#shut(error);
  }

  #send(id: number, kind: Kind, header: unknown, parts: readonly Uint8Array[]): void {
    const bytes = encodeFrame(id, kind, header, parts);
    this.#socket.write(bytes, () => bytes.fill(0));
  }

  #receive(frame: Frame): void {
    if (frame.kind === KIND.reply || frame.kind === KIND.failure) {
      const waiting = this.#waiting.get(frame.id);
      if (!waiting) return; // answered after its deadline
      this.#waiting.delete(frame.id);
      clearTimeout(waiting.timer);
      waiting.take(frame);
      return;
    }
    void this.#answer(frame);
  }

  async #answer(frame: Frame): Promise<void> {
    try {
      const reply = await this.#handler(frame.header, frame.parts);
      if (frame.kind === KIND.request && !this.#closed) {
        this.#send(frame.id, KIND.reply, reply.header, reply.parts ?? []);
      }
      for (const part of reply.parts ?? []) part.fill(0);
    } catch (error) {
      if (frame.kind === KIND.request && !this.#closed)
        this.#send(frame.id, KIND.failure, describe(error), []);
    }
  }

  #shut(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroy();
    for (const waiting of this.#waiting.values()) {
      clearTimeout(waiting.timer);
      waiting.fail(
        new SallyportError('channel_closed', 'The other process is gone; it is being started again.'),
      );
    }
    this.#waiting.clear();
    this.onClose(error);
  }
}

function describe(error: unknown): { code: string; message: string } {
  if (error instanceof SallyportError) return { code: error.code, message: error.message };
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'internal', message: `A process failed inside: ${message}` };
}

function readFailure(header: unknown): SallyportError {
  if (typeof header === 'object' && header !== null && 'code' in header && 'message' in header) {
    const { code, message } = header;
    if (isErrorCode(code) && typeof message === 'string') return new SallyportError(code, message);
  }
  return new SallyportError('channel_malformed', 'The other process failed without saying why.');
}
