import http2 from 'node:http2';
import type tls from 'node:tls';
import type { Session } from '../tunnel/session.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';
import { AgentStream } from './agent-stream.ts';
import { Calm } from './calm.ts';

/** Requests at once on one connection. */
const STREAMS = 128;
/** A stream's window: enough for 20 MB/s over 12 ms, and with STREAMS of them the most that a connection can make us hold. */
const WINDOW = 256 * 1024;
/** Above what Calm puts up with. */
const MOST_UNTOLD = 1_000;
/** Time for a GOAWAY to be written: a session that is destroyed writes no more. */
const GOAWAY_MS = 50;
const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_REFUSED_STREAM } = http2.constants;

/** A tunnel whose agent chose HTTP/2 (ALPN h2): its requests side by side, each an AgentStream. */
export class AgentSession implements Session {
  readonly #tunnel: Tunnel;
  readonly #session: http2.ServerHttp2Session;
  readonly #streams = new Set<AgentStream>();
  readonly #calm: Calm;
  #flooded = false;
  /** Requests that we were told of, and those that were counted since. */
  #told = 0;

  /** `misdirected`: the agent named another host in its handshake. */
  constructor(tunnel: Tunnel, socket: tls.TLSSocket, misdirected: boolean) {
    const { headBytes, headFields } = tunnel.worker.settings.limits;
    this.#tunnel = tunnel;
    this.#session = http2.performServerHandshake(socket, {
      maxHeaderListPairs: headFields,
      maxSettings: 32,
      strictSingleValueFields: false, // whatever a server sends twice arrives twice
      settings: {
        enableConnectProtocol: true,
        enablePush: false,
        initialWindowSize: WINDOW,
        maxConcurrentStreams: STREAMS,
        maxHeaderListSize: headBytes,
      },
    });
    // The session waits for this event, which Node's own TLS server emits and a socket made by hand does not.
    socket.emit('secureConnect');
    this.#calm = new Calm(this.#session, () => this.#cutOff());
    this.#session.on('error', () => tunnel.destroy());
    this.#session.on('close', () => tunnel.destroy());
    this.#session.on('stream', (stream, _headers, flags, fields: string[]) => {
      this.#open(stream, fields, flags, misdirected);
    });
  }

  checkDeadlines(now: number): void {
    for (const stream of this.#streams) stream.checkDeadlines(now);
    this.#countUntold();
  }

  /**
   * A head that is too large is refused below us, and we are not told: it shows in the numbers alone, which rise by two
   * for each request (RFC 9113, 5.1.1). Agents that leave a few out have nothing to fear.
   */
  #countUntold(): void {
    if (this.#session.destroyed) return;
    const begun = ((this.#session.state.lastProcStreamID ?? 0) + 1) >> 1;
    for (let i = 0; i < MOST_UNTOLD && this.#told < begun; i++) {
      this.#told++;
      this.#calm.spend();
    }
    this.#told = Math.max(this.#told, begun);
  }

  /** HTTP/2 frames its heads: one that does not end holds up its connection alone, which is idle then. */
  headTimedOut(): void {}

  recheck(gone: boolean): boolean {
    for (const stream of this.#streams) stream.recheck(gone);
    return gone;
  }

  drain(): void {
    if (this.#streams.size > 0) this.close();
    else this.#tunnel.close();
  }

  /** Each request ends by itself: this is the agent going. */
  ended(): void {
    this.#tunnel.destroy();
  }

  /** Takes no more requests (GOAWAY), ends with the last of those in hand. */
  close(): void {
    this.#session.close();
  }

  gone(): void {
    for (const stream of this.#streams) stream.closed();
    this.#streams.clear();
    this.#session.destroy();
  }

  #open(
    stream: http2.ServerHttp2Stream,
    fields: readonly string[],
    flags: number,
    misdirected: boolean,
  ): void {
    stream.on('error', () => {}); // told by the close that follows
    this.#told++;
    if (this.#flooded) return stream.close(NGHTTP2_REFUSED_STREAM);
    const request = new AgentStream(this.#tunnel, stream);
    this.#streams.add(request);
    this.#streamsChanged();
    stream.on('close', () => {
      if (!this.#streams.delete(request)) return;
      if (request.closed()) this.#calm.spend();
      this.#streamsChanged();
    });
    request.start(fields, flags, misdirected);
  }

  #streamsChanged(): void {
    if (this.#tunnel.closing) return;
    if (this.#streams.size > 0) this.#tunnel.carry();
    else this.#tunnel.awaitRequest();
  }

  #cutOff(): void {
    if (this.#flooded) return;
    this.#flooded = true;
    this.#tunnel.worker.metrics.limit('http2_flood');
    this.#session.goaway(NGHTTP2_ENHANCE_YOUR_CALM);
    setTimeout(() => {
      if (this.#session.destroyed) return;
      // What a session that is closed has still to read is read and dropped: a reset would overtake the GOAWAY.
      this.#session.close();
      this.#session.destroy(undefined, NGHTTP2_ENHANCE_YOUR_CALM);
      this.#tunnel.linger();
    }, GOAWAY_MS);
  }
}
