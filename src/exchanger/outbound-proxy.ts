import { Buffer } from 'node:buffer';
import http from 'node:http';
import net from 'node:net';
import { SallyportError } from '../errors.ts';
import type { WayOut } from '../upstream/connect.ts';
import { dial } from '../upstream/dial.ts';
import { unreachable } from '../upstream/failures.ts';
import type { Resolver } from '../upstream/resolve.ts';
import { until } from '../upstream/until.ts';

export interface OutboundProxyOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string | null;
  /** Read with `user` only. */
  readonly password: string;
  readonly resolver: Resolver;
}

const NOBODY = '';

/** The company's proxy (`--upstream-proxy`): a connection is a CONNECT, and the proxy resolves the name. */
export class OutboundProxy implements WayOut {
  readonly host: string;
  readonly port: number;
  readonly #options: OutboundProxyOptions;

  constructor(options: OutboundProxyOptions) {
    this.host = options.host;
    this.port = options.port;
    this.#options = options;
  }

  async connect(
    to: { readonly host: string; readonly port: number },
    attemptDelayMs: number,
    signal: AbortSignal,
  ): Promise<net.Socket> {
    const { host, port, resolver } = this.#options;
    const found = await until(signal, resolver.resolve(host, port, NOBODY));
    const dialling = {
      host,
      port,
      ready: 'connect' as const,
      open: (address: string, at: number) => net.connect({ host: address, port: at }),
      refusal: (_socket: net.Socket, error: Error) => unreachable({ host, port }, error),
    };
    const socket = await dial(dialling, found.addresses, found.port, attemptDelayMs, signal);
    return this.#ask(socket, to, signal);
  }

  #ask(socket: net.Socket, to: { host: string; port: number }, signal: AbortSignal): Promise<net.Socket> {
    const { user, password } = this.#options;
    const authority = net.isIPv6(to.host) ? `[${to.host}]:${to.port}` : `${to.host}:${to.port}`;
    const pair = Buffer.from(`${user ?? ''}:${password.replace(/[\r\n]+$/, '')}`, 'utf8').toString('base64');
    return new Promise((resolve, reject) => {
      const request = http.request({
        createConnection: () => socket,
        method: 'CONNECT',
        path: authority,
        headers: { host: authority, ...(user === null ? {} : { 'proxy-authorization': `Basic ${pair}` }) },
        setHost: false,
        signal,
      });
      const refuse = (why: string, cause?: unknown): void => {
        socket.destroy();
        reject(new SallyportError('upstream_unreachable', `The proxy that leads out ${why}.`, { cause }));
      };
      request.on('error', (error) => refuse('cannot be used', error));
      request.on('response', ({ statusCode }) => refuse(`answered ${statusCode}`));
      request.on('connect', ({ statusCode = 0 }, tunnel: net.Socket, head: Buffer) => {
        if (statusCode < 200 || statusCode > 299) return refuse(`answered ${statusCode}`);
        if (head.length > 0) tunnel.unshift(head);
        resolve(tunnel);
      });
      request.end();
    });
  }
}
