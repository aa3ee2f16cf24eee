import net from 'node:net';
import { SallyportError } from '../../errors.ts';
import { allocateSecret } from '../../secret-buffer.ts';
import { dial } from '../../upstream/dial.ts';
import type { Resolver } from '../../upstream/resolve.ts';
import { until } from '../../upstream/until.ts';
import { authorityText } from '../authority.ts';
import { ResponseReader } from '../http/response.ts';
import { base64Length, writeBase64 } from '../injection/base64.ts';

export interface OutboundProxyOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string | null;
  /** Wiped here. Read with `user` only. */
  readonly password: Buffer | undefined;
  readonly resolver: Resolver;
}

const LIMITS = { headBytes: 16 * 1024, headFields: 100, targetBytes: 0 };
/** Whose name the proxy is: no agent's. */
const NOBODY = '';
const BASIC = 'Proxy-Authorization: Basic ';
const CRLF = Buffer.from('\r\n', 'latin1');

/**
 * The HTTP proxy through which a company lets connections out. Each is a CONNECT of its own; the names of servers are
 * resolved there, and its own address is the operator's choice, whatever it is.
 */
export class OutboundProxy {
  readonly host: string;
  readonly port: number;
  readonly #resolver: Resolver;
  readonly #authorization: Buffer;

  constructor({ host, port, user, password, resolver }: OutboundProxyOptions) {
    this.host = host;
    this.port = port;
    this.#resolver = resolver;
    this.#authorization = user === null ? Buffer.alloc(0) : basic(user, password ?? Buffer.alloc(0));
    password?.fill(0);
  }

  /**
   * A connection to `to`, paused, with what its server has said already put back. Throws upstream_unresolved,
   * upstream_unreachable, upstream_invalid, the signal's reason.
   */
  async connect(
    to: { readonly host: string; readonly port: number },
    attemptDelayMs: number,
    signal: AbortSignal,
  ): Promise<net.Socket> {
    const { host, port } = this;
    const found = await until(signal, this.#resolver.resolve(host, port, NOBODY)).catch((cause: unknown) => {
      throw signal.aborted ? signal.reason : unavailable('its name is not resolved', cause);
    });
    const dialling = {
      host,
      port,
      ready: 'connect' as const,
      open: (address: string, at: number) => net.connect({ host: address, port: at, allowHalfOpen: true }),
      refusal: (_socket: net.Socket, error: Error) => unavailable('the connection broke', error),
    };
    const socket = await dial(dialling, found.addresses, found.port, attemptDelayMs, signal).catch(
      (cause: unknown) => {
        throw signal.aborted ? signal.reason : unavailable('it does not answer', cause);
      },
    );
    return this.#ask(socket, to, signal);
  }

  #ask(socket: net.Socket, to: { host: string; port: number }, signal: AbortSignal): Promise<net.Socket> {
    const reader = new ResponseReader(LIMITS);
    reader.expect('CONNECT');
    const head = this.#head(authorityText(to.host, to.port, ''));
    return new Promise((resolve, reject) => {
      const end = (): void => {
        socket.off('data', onData);
        socket.off('close', onClose);
        signal.removeEventListener('abort', onAbort);
      };
      const fail = (error: unknown): void => {
        end();
        socket.destroy();
        reject(error);
      };
      const onAbort = (): void => fail(signal.reason);
      const onClose = (): void => fail(unavailable('it closed the connection'));
      const onData = (chunk: Buffer): void => {
        try {
          const read = reader.read(chunk, 0);
          if (read < 0) return;
          const { status } = reader.head;
          if (status < 200 || status > 299) return fail(refused(to, status));
          end();
          socket.pause();
          if (read < chunk.length) socket.unshift(chunk.subarray(read));
          resolve(socket);
        } catch (error) {
          fail(error);
        }
      };
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      socket.on('close', onClose);
      socket.on('data', onData);
      socket.write(head, () => head.fill(0));
    });
  }

  #head(authority: string): Buffer {
    const line = Buffer.from(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n`, 'latin1');
    const head = allocateSecret(line.length + this.#authorization.length + CRLF.length);
    let at = line.copy(head);
    at += this.#authorization.copy(head, at);
    CRLF.copy(head, at);
    return head;
  }
}

/** Without its name and address, which are none of an agent's business. */
function unavailable(what: string, cause?: unknown): SallyportError {
  return new SallyportError(
    'upstream_unreachable',
    `The proxy that leads out cannot be used (${what}), so nothing was sent; the key is healthy: try again later, then tell the owner.`,
    { cause },
  );
}

/** The field line, RFC 7617. */
function basic(user: string, password: Buffer): Buffer {
  const name = Buffer.from(`${user}:`, 'utf8');
  const value = password.subarray(0, lineLength(password));
  const line = allocateSecret(BASIC.length + base64Length(name.length + value.length) + CRLF.length);
  const at = writeBase64(line, line.write(BASIC, 0, 'latin1'), [name, value]);
  CRLF.copy(line, at);
  return line;
}

/** Without the line's end that editors put into files. */
function lineLength(bytes: Buffer): number {
  let length = bytes.length;
  while (length > 0 && (bytes[length - 1] === 0x0a || bytes[length - 1] === 0x0d)) length--;
  return length;
}

function refused(to: { readonly host: string; readonly port: number }, status: number): SallyportError {
  const what =
    status === 407
      ? 'The proxy that leads out does not take our password (407)'
      : `The proxy that leads out does not connect to ${to.host}:${to.port} (it answered ${status})`;
  return new SallyportError(
    'upstream_unreachable',
    `${what}, so nothing was sent; the key is healthy: tell the owner, who has set --upstream-proxy.`,
  );
}
