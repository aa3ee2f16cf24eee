import { once } from 'node:events';
import http2 from 'node:http2';
import type { TlsOptions } from 'node:tls';
import type { Certificate } from './certificates.ts';
import { portOf } from './tls-server.ts';

/** A request as a server of HTTP/2 gets it. */
export interface Http2Request {
  readonly stream: http2.ServerHttp2Stream;
  /** Names and values by turns as they came. */
  readonly fields: readonly string[];
  /** The names that were sent as never to be indexed. */
  readonly sensitive: readonly string[];
  readonly ended: boolean;
}

/** A server of HTTP/2 whose requests are taken one by one. */
export class Http2Server {
  readonly server: http2.Http2SecureServer;
  readonly sessions = new Set<http2.ServerHttp2Session>();
  accepted = 0;
  readonly #came: Http2Request[] = [];
  readonly #waiting: ((request: Http2Request) => void)[] = [];

  private constructor(certificate: Certificate, settings: http2.Settings, options: TlsOptions) {
    this.server = http2.createSecureServer({ ...certificate, ...options, settings });
    this.server.on('session', (session) => {
      this.accepted++;
      this.sessions.add(session);
      session.on('close', () => this.sessions.delete(session));
      session.on('error', () => {});
    });
    this.server.on('stream', (stream: http2.ServerHttp2Stream, headers, flags, fields) => {
      stream.on('error', () => {});
      const names: unknown = Reflect.get(headers, http2.sensitiveHeaders);
      const sensitive = Array.isArray(names) ? names.map(String) : [];
      const ended = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      const request = { stream, fields: fields.map(String), sensitive, ended };
      const waiting = this.#waiting.shift();
      if (waiting) waiting(request);
      else this.#came.push(request);
    });
  }

  static async start(
    certificate: Certificate,
    settings: http2.Settings = {},
    options: TlsOptions = {},
  ): Promise<Http2Server> {
    const server = new Http2Server(certificate, settings, options);
    server.server.listen(0, '127.0.0.1');
    await once(server.server, 'listening');
    return server;
  }

  get port(): number {
    return portOf(this.server);
  }

  /** The next request; throws where none comes. */
  request(): Promise<Http2Request> {
    const came = this.#came.shift();
    if (came) return Promise.resolve(came);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no request came')), 3_000);
      this.#waiting.push((request) => {
        clearTimeout(timer);
        resolve(request);
      });
    });
  }

  async close(): Promise<void> {
    for (const session of this.sessions) session.destroy();
    this.server.close();
    await once(this.server, 'close');
  }
}
