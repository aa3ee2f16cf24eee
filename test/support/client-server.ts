import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { WebSocketServer } from 'ws';
import type { Certificate } from './certificates.ts';
import { portOf } from './tls-server.ts';

/** What every client downloads. */
export const BIG = Buffer.alloc(2_000_000, 'sallyport ');
const PAGE = `<p></p><script>fetch('/echo', { method: 'POST', body: 'x' }).then((answer) => answer.text())
.then((text) => { document.querySelector('p').textContent = text; })</script>`;
export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/**
 * What real clients are run against: GET /big and /page, POST and PUT /echo (answers the body's SHA-256), WebSockets that echo, and
 * below /git/ the repositories of a folder, through git's own http-backend. Whatever lacks the credential gets 401.
 */
export class ClientServer {
  readonly port: number;
  /** `METHOD path` of each request, with the credential or not. */
  readonly seen: { what: string; credential: string }[] = [];
  readonly #server: Server;
  readonly #repositories: string;

  private constructor(server: Server, repositories: string) {
    this.#server = server;
    this.#repositories = repositories;
    this.port = portOf(server);
    const sockets = new WebSocketServer({ noServer: true });
    server.on('request', (request, response) => this.#answer(request, response));
    server.on('checkContinue', (request, response) => {
      response.writeContinue();
      this.#answer(request, response);
    });
    server.on('upgrade', (request, socket, head) => {
      this.#note(request);
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        webSocket.on('message', (data, isBinary) => webSocket.send(data, { binary: isBinary }));
      });
    });
  }

  static async start(certificate: Certificate, repositories: string): Promise<ClientServer> {
    const server = createServer({ ...certificate, keepAliveTimeout: 60_000 });
    server.on('tlsClientError', () => {}); // a client that leaves is the client's test
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new ClientServer(server, repositories);
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    if (this.#server.listening) await once(this.#server, 'close');
  }

  #note({ method = '', url = '', headers }: IncomingMessage): string {
    const { authorization = '' } = headers;
    this.seen.push({ what: `${method} ${url}`, credential: authorization });
    return authorization;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { method, url = '' } = request;
    if (this.#note(request) === '') return void response.writeHead(401).end();
    if (url.startsWith('/git/')) return this.#git(request, response);
    if (url === '/page') return void response.setHeader('Content-Type', 'text/html').end(PAGE);
    if (method === 'GET') return void response.end(BIG);
    const hash = createHash('sha256');
    request.on('data', (chunk: Buffer) => hash.update(chunk));
    request.on('end', () => response.end(hash.digest('hex')));
  }

  /** RFC 3875, as git-http-backend(1) wants it. */
  #git(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, search } = new URL(request.url ?? '', 'https://git');
    const { headers } = request;
    const backend = spawn('git', ['http-backend'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        PATH: process.env.PATH,
        GIT_PROJECT_ROOT: this.#repositories,
        GIT_HTTP_EXPORT_ALL: '1',
        REQUEST_METHOD: request.method,
        PATH_INFO: pathname.slice('/git'.length),
        QUERY_STRING: search.slice(1),
        REMOTE_USER: 'someone',
        CONTENT_TYPE: headers['content-type'],
        CONTENT_LENGTH: headers['content-length'],
        HTTP_CONTENT_ENCODING: headers['content-encoding'],
        GIT_PROTOCOL: String(headers['git-protocol'] ?? ''),
      },
    });
    backend.stdin.on('error', () => {}); // it may end without reading
    request.pipe(backend.stdin);
    let head: Buffer | undefined = Buffer.alloc(0);
    backend.stdout.on('data', (chunk: Buffer) => {
      if (!head) return void response.write(chunk);
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      for (const line of head.toString('latin1', 0, end).split('\r\n')) {
        const [name = '', value = ''] = line.split(/: (.*)/s);
        if (name === 'Status') response.statusCode = Number.parseInt(value, 10);
        else response.setHeader(name, value);
      }
      response.write(head.subarray(end + 4));
      head = undefined;
    });
    backend.on('close', () => response.end());
  }
}
