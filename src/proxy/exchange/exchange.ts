import type { Rule } from '../../channel/messages/policy.ts';
import type { SallyportError } from '../../errors.ts';
import type { RequestHead } from '../http/message.ts';
import { splitPath } from '../http/target.ts';
import { asSallyportError, problemResponse } from '../problem.ts';
import type { Lease } from '../secrets/hot-secrets.ts';
import type { UpstreamConnection } from '../upstream/connection.ts';
import type { AgentSide } from './agent-side.ts';
import { Carriage } from './carriage.ts';
import type { Carried } from './carried.ts';
import { Pace } from './pace.ts';
import { Preparation, type Preparing } from './preparation.ts';
import { recordRefusal } from './records.ts';
import { RequestBody } from './request-body.ts';

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

/**
 * One request and its answer: prepared (rule, secret, connection, record), and only then carried. Every way out passes
 * `finish`, which ends the lease and completes the record.
 */
export class Exchange implements Preparing, Carried {
  readonly tunnel: AgentSide;
  readonly head: RequestHead;
  readonly #path: string;
  readonly #misdirected: boolean;
  readonly #preparation: Preparation;
  body: RequestBody | undefined;
  /** Undefined until it is forwarded. */
  #carriage: Carriage | undefined;
  /** Undefined unless it lasts. */
  #pace: Pace | undefined;
  #over = false;

  /** `misdirected`: the agent named another host before there was a request. */
  constructor(tunnel: AgentSide, head: RequestHead, misdirected: boolean) {
    this.tunnel = tunnel;
    this.head = head;
    this.#misdirected = misdirected;
    this.#path = head.method === 'CONNECT' ? '' : splitPath(head.bytes, head.targetStart, head.targetEnd);
    if (head.framing.kind !== 'none') this.body = new RequestBody(tunnel.worker, head.framing);
    this.#preparation = new Preparation(this, tunnel, head, this.#path, this.body);
  }

  /** Whether it has ended, one way or another. */
  get over(): boolean {
    return this.#over;
  }

  get wantsBody(): boolean {
    return this.body !== undefined && !this.body.done;
  }

  get persistent(): boolean {
    // RFC 9112, 9.3: a proxy keeps no connection with a client of HTTP/1.0.
    const { persistent, minor } = this.head;
    return persistent && minor === 1 && !this.wantsBody && !this.tunnel.worker.draining;
  }

  /** Whether the agent has a part of its final answer. */
  get answering(): boolean {
    return this.#carriage?.answering === true;
  }

  /** Whether bytes of the body can go on now. */
  get takesBody(): boolean {
    if (!this.wantsBody) return false;
    return this.#carriage ? this.#carriage.underWay : this.body?.collecting === true;
  }

  start(): void {
    this.#preparation.begin(this.#misdirected);
  }

  forward(rule: Rule, lease: Lease, upstream: UpstreamConnection): void {
    const { signing } = this.#preparation;
    const { body } = this;
    if (signing && signing.payload.hash === undefined && body && body.hash === undefined) {
      return this.#collect(body);
    }
    this.#carriage ??= new Carriage(this, this.#preparation);
    try {
      this.#carriage.send(rule, lease, upstream);
    } catch (error) {
      this.fail(asSallyportError(error));
    }
  }

  /** Reads the body, whose hash is to stand in the head, before anything is sent. */
  #collect(body: RequestBody): void {
    body.collect();
    body.moved(performance.now());
    if (this.head.expectContinue) this.tunnel.write(Buffer.from(CONTINUE));
    this.tunnel.continue();
  }

  /** Takes the body's bytes in `chunk` from `at`; returns the offset after them. */
  forwardBody(chunk: Buffer, at: number): number {
    const { body } = this;
    if (!body) return chunk.length;
    try {
      if (this.#carriage) return this.#carriage.forwardBody(body, chunk, at);
      const end = body.read(chunk, at);
      body.moved(performance.now());
      if (body.done) setImmediate(() => this.#preparation.resume());
      return end;
    } catch (error) {
      this.#bodyBroke(body, asSallyportError(error));
      return chunk.length;
    }
  }

  /** A body that breaks off or is malformed: the upstream never sees it complete, the agent gets its answer or a close. */
  #bodyBroke(body: RequestBody, error: SallyportError): void {
    body.broken = true;
    this.#preparation.supply.drop();
    if (this.answering) this.finish(null, error.code, () => this.tunnel.destroy());
    else this.fail(error);
  }

  switchBody(): void {
    this.body ??= new RequestBody(this.tunnel.worker, this.head.framing);
    this.body.unframe();
    this.tunnel.continue();
  }

  /** Asked when a new policy is in force: does it still allow this request with this very credential? */
  policyChanged(): boolean {
    // What is not forwarded yet asks for itself when it is.
    return this.#carriage?.underWay === true && this.#preparation.lostItsRight();
  }

  /** The agent sends no more, where protocols are switched: the server is told. False where it waits for nothing. */
  endSwitched(): boolean {
    return this.#carriage?.endSwitched() ?? false;
  }

  agentDrained(): void {
    this.#carriage?.agentDrained();
  }

  /** The right to it was taken away while it lasts. */
  revoked(): void {
    this.finish(null, 'policy_denied', () => {});
  }

  /** The agent's connection is gone: nothing more to do for it, and nothing more for the upstream to do. */
  agentGone(): void {
    this.finish(null, 'client_closed', () => {});
  }

  checkDeadlines(now: number): void {
    if (this.#over) return;
    const error = this.body?.checkDeadline(now);
    if (error && this.body) return this.#bodyBroke(this.body, error);
    const late = this.#checkPace(now);
    if (late) this.#cutShort(late);
    else this.#carriage?.checkDeadline(now);
  }

  #checkPace(now: number): SallyportError | undefined {
    const { rule, startedAt } = this.#preparation;
    if (!rule) return undefined; // refused, and about to be answered
    this.#pace ??= new Pace(this.tunnel.worker, rule.limits, startedAt);
    const { bytesUp = 0, bytesDown = 0 } = this.#carriage ?? {};
    return this.#pace.check(now, bytesUp + bytesDown, this.answering);
  }

  /** Its time is up, in whatever state it is. */
  #cutShort(error: SallyportError): void {
    if (this.#carriage?.cutShort(error)) return;
    this.#preparation.end();
    if (this.#preparation.record === undefined) this.refuse(error);
    else this.fail(error);
  }

  refuse(error: SallyportError): void {
    recordRefusal(this.tunnel, this.head, this.#path, error, (unwritten) => {
      if (!this.#over) this.fail(unwritten ?? error);
    });
  }

  fail(error: SallyportError): void {
    // With a body still coming the connection cannot be used again: where the next request begins would be a guess.
    const close = this.body?.broken || !this.persistent;
    const bodiless = this.head.method === 'HEAD';
    this.tunnel.write(problemResponse(error, { close, bodiless, reason: false }));
    this.finish(error.status, error.code, () => this.tunnel.exchangeDone(!close));
  }

  finish(status: number | null, error: string | null, then: () => void): void {
    if (this.#over) return;
    this.#over = true;
    const carriage = this.#carriage;
    this.#preparation.complete(status, error, carriage?.bytesUp ?? 0, carriage?.bytesDown ?? 0);
    carriage?.destroy();
    this.#preparation.end();
    this.body?.drop();
    then();
  }
}
