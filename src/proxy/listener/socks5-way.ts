import { isIP } from 'node:net';
import type { SallyportError } from '../../errors.ts';
import { type Authority, canonicalHost } from '../http/target.ts';
import { asSallyportError } from '../problem.ts';
import type { Approach, Asked, Way } from './approach.ts';
import { readClientHello } from './client-hello.ts';
import { enter } from './enter.ts';
import { type Entrant, identify, takeTurn } from './entrant.ts';
import { enterPlainAt } from './plain.ts';
import { credentialsRequired, type Identity } from './proxy-credentials.ts';
import {
  loginAnswer,
  methodAnswer,
  REPLY,
  readGreeting,
  readLogin,
  readRequest,
  replyFor,
  requestAnswer,
  type Socks5Request,
} from './socks5.ts';

const HTTP_PORT = 80;
const NOTHING = Buffer.alloc(0);
const SUCCEEDED = requestAnswer(REPLY.succeeded);

/** The way of SOCKS5: greeting, login, request, each answered before the next is asked for. */
export class Socks5Way implements Way {
  readonly #approach: Approach;
  #awaits: 'greeting' | 'login' | 'request' = 'greeting';
  #held: Buffer = NOTHING;
  #who: Identity | undefined;

  constructor(approach: Approach) {
    this.#approach = approach;
  }

  read(chunk: Buffer): void {
    // A message has 517 bytes at most; what a hasty client sends with it is held no longer than the next one takes.
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    if (bytes !== chunk) {
      this.#held.fill(0);
      chunk.fill(0); // it may hold a password
    }
    this.#held = bytes;
    while (this.#step(this.#held));
  }

  /** Takes one message; whether there may be another. */
  #step(bytes: Buffer): boolean {
    if (this.#awaits === 'greeting') {
      const read = readGreeting(bytes);
      if (!read) return false;
      if (!read.value) throw credentialsRequired();
      this.#next('login', bytes, read.end, methodAnswer(true));
      return true;
    }
    if (this.#awaits === 'login') {
      const read = readLogin(bytes);
      if (!read) return false;
      if (!this.#login(read.value)) return false;
      this.#approach.recognised();
      this.#next('request', bytes, read.end, loginAnswer(true));
      return true;
    }
    const who = this.#who;
    if (!who) return false;
    try {
      const read = readRequest(bytes);
      if (!read) return false;
      this.#who = undefined; // whose token it is, is decided now
      this.#approach.hold();
      void this.#enter(who, read.value, bytes.subarray(read.end));
    } catch (error) {
      this.#refuse(who.name, who.token, asSallyportError(error));
    }
    return false;
  }

  #login(who: Identity): boolean {
    try {
      if (!identify(this.#approach.worker.policy, who)) throw credentialsRequired();
      this.#who = who;
      return true;
    } catch (error) {
      this.#refuse(null, who.token, asSallyportError(error));
      return false;
    }
  }

  #refuse(agent: string | null, token: Buffer, error: SallyportError): void {
    token.fill(0);
    this.#approach.hold();
    this.#approach.refuse(asked(agent, undefined), error);
  }

  #next(awaits: 'login' | 'request', bytes: Buffer, end: number, answer: Buffer): void {
    this.#awaits = awaits;
    this.#held = bytes.subarray(end);
    this.#approach.answer(answer);
  }

  refusal(error: SallyportError): Buffer {
    if (this.#awaits === 'greeting') return methodAnswer(false);
    return this.#awaits === 'login' ? loginAnswer(false) : requestAnswer(replyFor(error));
  }

  gone(): void {
    this.#who?.token.fill(0);
  }

  async #enter(who: Identity, to: Socks5Request, rest: Buffer): Promise<void> {
    const record = asked(who.name, to);
    try {
      const entrant = await takeTurn(this.#approach.worker, who);
      await this.#goTo(entrant, to, record, rest);
    } catch (error) {
      who.token.fill(0);
      this.#approach.refuse(record, asSallyportError(error));
    }
  }

  async #goTo(who: Entrant, to: Socks5Request, record: Asked, rest: Buffer): Promise<void> {
    const approach = this.#approach;
    const { policy } = approach.worker;
    const { agent } = who;
    const isListed = (host: string): boolean =>
      typeof policy.destination(agent.id, host, to.port) !== 'string';
    const isAddress = isIP(to.host) !== 0;
    if (isListed(to.host)) return enter(approach, who, to, { established: SUCCEEDED, rest });
    // Port 80 is HTTP in the clear, decided by request and refused in its own words; by Host where an address is asked.
    if (to.port === HTTP_PORT)
      return enterPlainAt(approach, who, to, isAddress, { established: SUCCEEDED, rest });
    if (!isAddress || !policy.hasPort(agent.id, to.port))
      return enter(approach, who, to, { established: SUCCEEDED, rest });
    // Somebody has resolved a name: which one it was, TLS says. The name counts, and is resolved by us.
    const hello = await approach.firstBytes(SUCCEEDED, rest, (bytes) => readClientHello(bytes) !== 'more');
    const name = namedHost(hello);
    const named: Authority = name !== undefined && isListed(name) ? { host: name, port: to.port } : to;
    Object.assign(record, named);
    return enter(approach, who, named, { established: NOTHING, rest: hello });
  }
}

/** The canonical host that a ClientHello names; undefined where it is none, or is an address. */
function namedHost(bytes: Buffer): string | undefined {
  const hello = readClientHello(bytes);
  if (typeof hello === 'string' || hello.name === undefined) return undefined;
  try {
    const host = canonicalHost(hello.name);
    return isIP(host) === 0 ? host : undefined;
  } catch {
    return undefined; // no host, so none that a rule names
  }
}

function asked(agent: string | null, to: Authority | undefined): Asked {
  return { agent, method: 'CONNECT', host: to?.host ?? '', port: to?.port ?? 0, path: '' };
}
