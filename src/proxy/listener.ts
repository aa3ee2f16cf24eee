import net from 'node:net';
import { SallyportError } from '../errors.ts';
import { readBasicCredentials } from './basic-credentials.ts';
import { nameEquals } from './http/field-name.ts';
import type { RequestHead } from './http/message.ts';
import { RequestReader } from './http/request.ts';
import { parseAuthority } from './http/target.ts';
import { authenticate } from './policy/authenticate.ts';
import type { PolicyAgent } from './policy/match.ts';
import { type Refusal, refuseDestination, refuseIntegrity } from './policy/refusal.ts';
import { asSallyportError, problemResponse } from './problem.ts';
import { Tunnel } from './tunnel.ts';
import type { Worker } from './worker.ts';

/** git and Java ask once without credentials, then again on the same connection (measured). */
const MAX_CHALLENGES = 4;
const ESTABLISHED = Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n', 'latin1');

/** Accepts agents. All workers share the port (`reusePort`); the supervisor made sure that nobody else has it. */
export function listen(worker: Worker): Promise<net.Server> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (socket) => {
    new Approach(worker, socket);
  });
  const { host, port } = worker.settings.listen;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, reusePort: true, backlog: 1024 }, () => resolve(server));
  });
}

/** One connection until it is a tunnel or refused: reads CONNECT, knows the agent, finds whether it may go there. */
class Approach {
  readonly #worker: Worker;
  readonly #socket: net.Socket;
  readonly #reader: RequestReader;
  #challenges = 0;
  #busy = false;

  constructor(worker: Worker, socket: net.Socket) {
    this.#worker = worker;
    this.#socket = socket;
    this.#reader = new RequestReader(worker.settings.limits);
    socket.setTimeout(worker.settings.limits.headTimeoutMs, () => this.#timeOut());
    socket.on('error', () => socket.destroy());
    socket.on('end', () => socket.end());
    socket.on('data', this.#onData);
  }

  readonly #onData = (chunk: Buffer): void => {
    try {
      const end = this.#reader.read(chunk, 0);
      if (end < 0) return;
      this.#busy = true;
      this.#socket.pause(); // what follows is for the tunnel, or for the next head
      void this.#approach(this.#reader.head, chunk.subarray(end));
    } catch (error) {
      this.#refuse(asSallyportError(error));
    }
  };

  async #approach(head: RequestHead, rest: Buffer): Promise<void> {
    const asked: Asked = { agent: null, method: head.method, host: '', port: 0, path: '' };
    let token: Buffer | undefined;
    try {
      const credentials = proxyCredentials(head);
      token = credentials?.token;
      const agent = credentials && authenticate(this.#worker.policy, credentials.name, credentials.token);
      if (!agent || !credentials) return this.#challenge(credentials !== undefined, head, rest);
      asked.agent = agent.name;
      if (head.method !== 'CONNECT') throw notConnect();
      Object.assign(asked, parseAuthority(head.bytes, head.targetStart, head.targetEnd));
      const tunnel = new Tunnel(this.#worker, {
        agent,
        token: credentials.token,
        host: asked.host,
        port: asked.port,
      });
      await this.#connect(agent, tunnel, rest);
    } catch (error) {
      token?.fill(0);
      const refusal = asSallyportError(error);
      this.#worker.stages.journal.refusal(asked, refusal, () => this.#refuse(refusal));
    }
  }

  /** Whether the agent may go there, the leaf to show it, and over to the tunnel. */
  async #connect(agent: PolicyAgent, tunnel: Tunnel, rest: Buffer): Promise<void> {
    const { host, port, token } = tunnel;
    const refusal = this.#destinationRefusal(agent, host, port);
    if (refusal) throw refusal;
    const context = await this.#worker.stages.leaves.context(agent.id, host, port, token);
    if (this.#socket.destroyed) return void token.fill(0);
    if (!this.#worker.admit(tunnel)) {
      const most = this.#worker.settings.limits.tunnelsPerAgent;
      throw new SallyportError(
        'rate_limited',
        `This agent has ${most} connections open: close some, then try again.`,
      );
    }
    this.#socket.removeAllListeners('data');
    this.#socket.removeAllListeners('end');
    this.#socket.setTimeout(0);
    this.#socket.write(ESTABLISHED);
    if (rest.length > 0) this.#socket.unshift(rest);
    tunnel.open(this.#socket, context);
  }

  #destinationRefusal(agent: PolicyAgent, host: string, port: number): SallyportError | undefined {
    const worker = this.#worker;
    if (worker.draining)
      return new SallyportError('draining', 'The proxy is stopping: try again in a few seconds.');
    const unavailable = worker.refusal();
    if (unavailable) return unavailable;
    const { policy } = worker;
    const refused = ({ code, message }: Refusal): SallyportError => new SallyportError(code, message);
    if (policy.integrity !== null) return refused(refuseIntegrity('The stored policy'));
    if (agent.integrity !== null) return refused(refuseIntegrity("This agent's registration"));
    const found = policy.destination(agent.id, host, port);
    return typeof found === 'string' ? refused(refuseDestination(agent.name, host, port, found)) : undefined;
  }

  /** 407: the same answer whether the agent is unknown, the token wrong, or neither was sent. */
  #challenge(presented: boolean, head: RequestHead, rest: Buffer): void {
    const error = new SallyportError(
      'proxy_auth_required',
      'Send Proxy-Authorization: Basic with this agent’s name and token; `sallyport agent rotate NAME` makes a new token.',
    );
    const again = ++this.#challenges < MAX_CHALLENGES && head.framing.kind === 'none' && rest.length === 0;
    const answer = (): void => {
      this.#socket.write(
        problemResponse(error, { close: !again, bodiless: head.method === 'HEAD', reason: false }),
      );
      this.#reader.reset();
      if (!again) return this.#close();
      this.#busy = false;
      this.#socket.resume();
    };
    if (!presented) return answer();
    const asked = { agent: null, method: head.method, host: '', port: 0, path: '' };
    this.#worker.stages.journal.refusal(asked, error, answer);
  }

  #refuse(error: SallyportError): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(problemResponse(error, { close: true, bodiless: false, reason: true }));
    this.#close();
  }

  /** Ends our side and reads on for a moment: closing over unread bytes would reset the answer away. */
  #close(): void {
    this.#busy = true;
    this.#socket.removeAllListeners('data');
    this.#socket.on('data', () => {});
    this.#socket.resume();
    this.#socket.setTimeout(1_000, () => this.#socket.destroy());
    this.#socket.end();
  }

  #timeOut(): void {
    if (this.#busy) return void this.#socket.destroy();
    this.#refuse(
      new SallyportError(
        'request_timeout',
        'No request arrived in time: send CONNECT at once after connecting.',
      ),
    );
  }
}

/** What the record of a refused approach says of it. */
interface Asked {
  agent: string | null;
  method: string;
  host: string;
  port: number;
  path: string;
}

function proxyCredentials(head: RequestHead): { name: string; token: Buffer } | undefined {
  const { bytes, count, offsets } = head.fields;
  let found: { name: string; token: Buffer } | undefined;
  for (let i = 0; i < count; i++) {
    const [start, end, valueStart, valueEnd] = offsets.subarray(4 * i, 4 * i + 4);
    if (start === undefined || end === undefined || valueStart === undefined || valueEnd === undefined) break;
    if (!nameEquals(bytes, start, end, 'proxy-authorization')) continue;
    if (found) return undefined; // two of them: which one is meant is anybody's guess
    found = readBasicCredentials(bytes, valueStart, valueEnd);
    bytes.fill(0, valueStart, valueEnd);
    if (!found) return undefined;
  }
  return found;
}

function notConnect(): SallyportError {
  return new SallyportError(
    'policy_denied',
    'This proxy carries HTTPS only: ask for the https:// address, which your client reaches with CONNECT.',
  );
}
