import type net from 'node:net';
import { encodeFrame, FrameReader, KIND } from '../../src/channel/frame.ts';
import type { Snapshot } from '../../src/channel/messages/policy.ts';
import { type FromWorker, ToWorker } from '../../src/channel/messages/worker.ts';

export interface PeerAnswer {
  /** The failure's code, where it was refused. */
  readonly code: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever is answered.
  readonly header: any;
  readonly parts: readonly Buffer[];
}

/** The worker's end of a channel, frame by frame: it can also do what no worker of ours would. */
export class WorkerPeer {
  readonly snapshots: Snapshot[] = [];
  drained = false;
  /** False: it takes messages and answers none. */
  answering = true;
  closed = false;
  readonly #socket: net.Socket;
  readonly #waiting = new Map<number, PromiseWithResolvers<PeerAnswer>>();
  #nextId = 1;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    const reader = new FrameReader(({ id, kind, header, parts }) => {
      if (kind === KIND.reply || kind === KIND.failure) {
        const copies = parts.map((part) => Buffer.from(part));
        const code = kind === KIND.failure ? String(Object(header).code) : undefined;
        this.#waiting.get(id)?.resolve({ code, header, parts: copies });
        this.#waiting.delete(id);
        return;
      }
      const message = ToWorker.parse(header);
      if (message.type === 'start' || message.type === 'snapshot') this.snapshots.push(message.snapshot);
      if (message.type === 'drain') this.drained = true;
      if (kind === KIND.request && this.answering) socket.write(encodeFrame(id, KIND.reply, {}, []));
    });
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      for (const { reject } of this.#waiting.values()) reject(new Error('The vault closed the channel.'));
      this.#waiting.clear();
    });
    socket.resume();
  }

  /** The newest policy that it was given. */
  get policy(): Snapshot {
    const newest = this.snapshots.at(-1);
    if (!newest) throw new Error('the worker has no policy yet');
    return newest;
  }

  ask(message: FromWorker, parts: readonly Buffer[]): Promise<PeerAnswer> {
    if (this.closed) return Promise.reject(new Error('The vault has closed the channel.'));
    const id = this.#nextId++;
    const waiting = Promise.withResolvers<PeerAnswer>();
    this.#waiting.set(id, waiting);
    this.#socket.write(encodeFrame(id, KIND.request, message, parts));
    return waiting.promise;
  }

  event(message: FromWorker): void {
    this.#socket.write(encodeFrame(0, KIND.event, message, []));
  }

  /** Asks for the secret of the newest policy's only rule, anything of which may be replaced. */
  askSecret(
    token: Buffer,
    changed: Partial<Extract<FromWorker, { type: 'secret' }>> = {},
  ): Promise<PeerAnswer> {
    const [rule] = this.policy.rules;
    const [host] = rule?.hosts ?? [];
    if (!rule || !host) throw new Error('the policy has no rule');
    const { agent, id, credential, version } = rule;
    const asked = { agent, rule: id, credential, version, host: host.pattern, port: host.port };
    return this.ask({ type: 'secret', ...asked, ...changed }, [token]);
  }

  close(): void {
    this.#socket.destroy();
  }
}
