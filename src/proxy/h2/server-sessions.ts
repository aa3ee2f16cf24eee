import http2 from 'node:http2';
import type tls from 'node:tls';
import { SallyportError } from '../../errors.ts';
import { Calm } from './calm.ts';
import { ServerStream } from './server-stream.ts';

/** As many as most servers allow; where one allows fewer, its own number counts. */
const STREAMS = 100;
const WINDOW = 1024 * 1024;
const SETTINGS_MS = 5_000;
const HEAD_BYTES = 256 * 1024;
const HEAD_FIELDS = 500;

/** Node looks at the second on this side too; its type declarations do not know it. */
const OPTIONS: http2.ClientSessionOptions & { strictSingleValueFields: boolean } = {
  maxHeaderListPairs: HEAD_FIELDS,
  strictSingleValueFields: false, // whatever an agent sends twice arrives twice
  settings: { enablePush: false, initialWindowSize: WINDOW, maxHeaderListSize: HEAD_BYTES },
};

/** What a connection was opened for, as the pool knows it. */
export interface SessionOrigin {
  readonly openedAt: number;
  retired: boolean;
}

interface Entry<O extends SessionOrigin> {
  readonly session: http2.ClientHttp2Session;
  readonly origin: O;
  streams: number;
}

/** The worker's HTTP/2 connections to servers, by the pool's keys, and requests on them side by side. */
export class ServerSessions<O extends SessionOrigin> {
  readonly #idleTimeoutMs: number;
  readonly #maxAgeMs: number;
  readonly #entries = new Map<string, Set<Entry<O>>>();
  readonly #opening = new Map<string, Promise<Entry<O>>>();

  constructor(limits: { readonly idleTimeoutMs: number; readonly maxAgeMs: number }) {
    this.#idleTimeoutMs = limits.idleTimeoutMs;
    this.#maxAgeMs = limits.maxAgeMs;
  }

  /** Connections now. */
  get count(): number {
    let count = 0;
    for (const entries of this.#entries.values()) count += entries.size;
    return count;
  }

  /**
   * A place for one request on a connection of `key`, which `connect` opens where there is none with room; those that
   * ask meanwhile wait for it too. `reused`: the connection had served others. Throws what `connect` throws, and
   * upstream_invalid for a server that does not speak HTTP/2.
   */
  async open(
    key: string,
    sensitive: readonly string[],
    origin: O,
    connect: () => Promise<tls.TLSSocket>,
  ): Promise<{ stream: ServerStream; reused: boolean; origin: O }> {
    let entry = this.#withRoom(key);
    const reused = entry !== undefined;
    while (!entry) {
      const opening = this.#opening.get(key) ?? this.#start(key, origin, connect);
      await opening;
      entry = this.#withRoom(key);
    }
    return { stream: this.#place(entry, sensitive), reused, origin: entry.origin };
  }

  /** Takes those that `isMeant` says out of use: each closes with the last of its requests. */
  retire(isMeant: (origin: O) => boolean): void {
    for (const entries of this.#entries.values()) {
      for (const { origin, session } of entries) {
        if (!isMeant(origin)) continue;
        origin.retired = true;
        session.close();
      }
    }
  }

  /** Closes all of them at once. */
  close(): void {
    for (const entries of this.#entries.values()) for (const { session } of entries) session.destroy();
  }

  #withRoom(key: string): Entry<O> | undefined {
    for (const entry of this.#entries.get(key) ?? []) {
      const { session, origin } = entry;
      if (session.closed || session.destroyed || origin.retired) continue;
      if (performance.now() - origin.openedAt > this.#maxAgeMs) {
        session.close();
        continue;
      }
      const most = Math.min(STREAMS, session.remoteSettings?.maxConcurrentStreams ?? STREAMS);
      if (entry.streams < most) return entry;
    }
    return undefined;
  }

  #place(entry: Entry<O>, sensitive: readonly string[]): ServerStream {
    const stream = new ServerStream(entry.session, sensitive);
    entry.streams++;
    stream.once('close', () => {
      entry.streams--;
    });
    return stream;
  }

  #start(key: string, origin: O, connect: () => Promise<tls.TLSSocket>): Promise<Entry<O>> {
    const opening = connect()
      .then((socket) => this.#begin(key, origin, socket))
      .finally(() => this.#opening.delete(key));
    this.#opening.set(key, opening);
    return opening;
  }

  async #begin(key: string, origin: O, socket: tls.TLSSocket): Promise<Entry<O>> {
    if (socket.alpnProtocol !== 'h2') {
      socket.destroy();
      const why =
        'The server does not speak HTTP/2, which this request needs: tell the owner; the key is healthy.';
      throw new SallyportError('upstream_invalid', why);
    }
    const session = http2.connect('https://server', { ...OPTIONS, createConnection: () => socket });
    const entry = { session, origin, streams: 0 };
    new Calm(session, () => session.destroy());
    session.on('error', () => {}); // told by the close that follows
    session.on('close', () => this.#forget(key, entry));
    session.on('goaway', () => this.#forget(key, entry)); // its requests end or are refused, each by itself
    session.setTimeout(this.#idleTimeoutMs, () => {
      if (entry.streams === 0) session.close();
    });
    await settled(session); // before that it is not known how many requests it takes at once
    const entries = this.#entries.get(key) ?? new Set();
    this.#entries.set(key, entries.add(entry));
    return entry;
  }

  #forget(key: string, entry: Entry<O>): void {
    const entries = this.#entries.get(key);
    entries?.delete(entry);
    if (entries?.size === 0) this.#entries.delete(key);
  }
}

/** Waits for the server's settings, which are the first that it sends. Throws upstream_closed. */
function settled(session: http2.ClientHttp2Session): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => session.destroy(), SETTINGS_MS);
    session.once('remoteSettings', () => {
      clearTimeout(timer);
      resolve();
    });
    session.once('close', () => {
      clearTimeout(timer);
      const why = 'The server closed the connection before it was set up; the key is healthy. Try again.';
      reject(new SallyportError('upstream_closed', why));
    });
  });
}
