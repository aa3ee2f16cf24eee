import { Buffer } from 'node:buffer';
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import type net from 'node:net';
import tls from 'node:tls';

/** What an agent is given: all that it knows. */
export interface Agent {
  readonly name: string;
  readonly token: string;
  /** PEM of its own authority. */
  readonly ca: string;
}

export interface Answer {
  readonly status: number;
  /** The reason phrase. */
  readonly reason: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** The value of Proxy-Authorization (RFC 7617). */
export function basic({ name, token }: Pick<Agent, 'name' | 'token'>): string {
  return `Basic ${Buffer.from(`${name}:${token}`).toString('base64')}`;
}

/** Sends one CONNECT. `socket` is open where the answer is 200, else at its end. */
export async function connect(
  proxy: string,
  target: string,
  authorization?: string,
): Promise<{ answer: Answer; socket: net.Socket }> {
  const { hostname, port } = new URL(proxy);
  const { promise, resolve, reject } = Promise.withResolvers<{ answer: Answer; socket: net.Socket }>();
  const request = http.request({
    host: hostname,
    port,
    method: 'CONNECT',
    path: target,
    headers: { host: target, ...(authorization !== undefined && { 'proxy-authorization': authorization }) },
    agent: false,
  });
  request.once('error', reject);
  request.once('connect', (response: IncomingMessage, socket: net.Socket, head: Buffer) => {
    const told = (body: Buffer) => ({
      answer: {
        status: response.statusCode ?? 0,
        reason: response.statusMessage ?? '',
        headers: response.headers,
        body,
      },
      socket,
    });
    const length = response.statusCode === 200 ? 0 : Number(response.headers['content-length'] ?? 0);
    const chunks = [head];
    const take = (): void => {
      const body = Buffer.concat(chunks);
      if (body.length < length) return;
      socket.removeAllListeners('data');
      resolve(told(body));
    };
    socket.on('error', reject);
    socket.once('end', () => reject(new Error('the answer was cut short')));
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      take();
    });
    take();
  });
  request.end();
  return promise;
}

/** An agent's tunnel to one host, TLS within, kept alive over its requests, which go one after another. */
export class AgentTunnel {
  readonly socket: tls.TLSSocket;
  readonly #host: string;
  readonly #agent: http.Agent;

  private constructor(socket: tls.TLSSocket, host: string) {
    this.socket = socket;
    this.#host = host;
    this.#agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    this.#agent.createConnection = () => socket;
  }

  /** Throws where CONNECT is refused or the proxy's certificate is not one of the agent's own authority. */
  static async open(
    proxy: string,
    agent: Agent,
    host: string,
    { port = 443, ...options }: tls.ConnectionOptions & { port?: number } = {},
  ): Promise<AgentTunnel> {
    const { answer, socket } = await connect(proxy, `${host}:${port}`, basic(agent));
    if (answer.status !== 200) {
      socket.destroy();
      throw new Error(`CONNECT was answered ${answer.status} ${answer.reason}`);
    }
    const secured = tls.connect({ socket, servername: host, ca: agent.ca, ...options });
    return new Promise((resolve, reject) => {
      secured.once('error', reject);
      secured.once('secureConnect', () => {
        secured.off('error', reject);
        secured.on('error', () => {}); // told by the request that it breaks, or by `closed`
        resolve(new AgentTunnel(secured, port === 443 ? host : `${host}:${port}`));
      });
    });
  }

  get closed(): boolean {
    return this.socket.destroyed || this.socket.readableEnded;
  }

  /** One request and its whole answer. Rejects where the tunnel ends before it. */
  async request(path: string, options: http.RequestOptions & { body?: string } = {}): Promise<Answer> {
    const response = await this.stream(path, options);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk);
    return {
      status: response.statusCode ?? 0,
      reason: response.statusMessage ?? '',
      headers: response.headers,
      body: Buffer.concat(chunks),
    };
  }

  /** The answer's head; its body is the caller's to read. */
  stream(
    path: string,
    { body, ...options }: http.RequestOptions & { body?: string } = {},
  ): Promise<IncomingMessage> {
    if (this.closed) return Promise.reject(new Error('the tunnel is closed'));
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const headers = { host: this.#host, ...Object(options.headers) };
    const request = http.request({ ...options, path, headers, agent: this.#agent }, resolve);
    request.once('error', reject);
    request.end(body);
    return promise;
  }

  close(): void {
    this.#agent.destroy();
    this.socket.destroy();
  }
}
