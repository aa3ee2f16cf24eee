import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { CertificateAuthority } from './certificates.ts';
import { makeServerCert } from './certificates.ts';
import { portOf } from './tls-server.ts';

/** A request as the server got it. */
export interface Received {
  readonly method: string;
  readonly path: string;
  /** Names as they came and values, in turn. */
  readonly fields: readonly string[];
  readonly body: Buffer;
}

/** Every value of the fields of that name, whatever their case. */
export function valuesOf({ fields }: Pick<Received, 'fields'>, name: string): string[] {
  return fields.filter(
    (_value, index) => index % 2 === 1 && fields[index - 1]?.toLowerCase() === name.toLowerCase(),
  );
}

/** A real HTTPS server that remembers what reached it and answers as `respond` says. */
export class Upstream {
  readonly received: Received[] = [];
  /** May be replaced; the default answers 200 with the number of the request. */
  respond: (request: Received, response: ServerResponse) => void = (_request, response) => {
    response.end(`answer ${this.received.length}\n`);
  };
  readonly #server: Server;
  readonly port: number;

  private constructor(server: Server) {
    this.#server = server;
    this.port = portOf(server);
    server.on('request', (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { method = '', url = '', rawHeaders } = request;
        const received = { method, path: url, fields: rawHeaders, body: Buffer.concat(chunks) };
        this.received.push(received);
        this.respond(received, response);
      });
    });
  }

  /** Serves all `hosts` ("*.x" too) on one free port of 127.0.0.1. */
  static async start(ca: CertificateAuthority, hosts: readonly string[]): Promise<Upstream> {
    const { cert, key } = makeServerCert(ca, hosts);
    const server = createServer({ cert, key, keepAliveTimeout: 60_000 });
    server.on('tlsClientError', () => {}); // a client that leaves is the client's test
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Upstream(server);
  }

  /** The last request that came. */
  get last(): Received {
    const last = this.received.at(-1);
    if (!last) throw new Error('nothing has reached the upstream');
    return last;
  }

  /** Forgets what has come so far. */
  forget(): void {
    this.received.length = 0;
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    if (this.#server.listening) await once(this.#server, 'close');
  }
}
