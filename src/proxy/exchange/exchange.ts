import type { Rule } from '../../channel/messages/policy.ts';
import type { SallyportError } from '../../errors.ts';
import type { RequestHead } from '../http/message.ts';
import { splitPath } from '../http/target.ts';
import { asSallyportError, problemResponse } from '../problem.ts';
import { Relay } from '../relay/relay.ts';
import type { Lease } from '../secrets/hot-secrets.ts';
import type { UpstreamConnection } from '../upstream/connection.ts';
import { webSocketAccept } from '../websocket/handshake.ts';
import { writeAndWipe } from '../write-once.ts';
import type { AgentSide } from './agent-side.ts';
import { CollectedBody } from './collected-body.ts';
import { isRepeatable, outgoingHead, scrubTargets } from './outgoing.ts';
import { Pace } from './pace.ts';
import { Preparation, type Preparing } from './preparation.ts';
import { recordRefusal } from './records.ts';
import { RequestBody } from './request-body.ts';
import { outgoingInjection } from './signing.ts';

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

/**
 * One request and its answer: prepared (rule, secret, connection, record), and only then forwarded; its body goes one
 * way, the answer comes the other. Every way out passes #finish, which ends the lease and completes the record.
 */
export class Exchange implements Preparing {
  readonly tunnel: AgentSide;
  readonly head: RequestHead;
  readonly #path: string;
  readonly #misdirected: boolean;
  /** Undefined where the request has none. */
  #body: RequestBody | undefined;
  readonly #preparation: Preparation;
  /** What a server answers that agrees to the agent's WebSocket handshake; undefined for every other request. */
  accept: string | undefined;
  #relay: Relay | undefined;
  /** The server's time from the request's end to the answer's head. */
  #responseMs = 0;
  /** Undefined unless it lasts. */
  #pace: Pace | undefined;
  /** Where the head says its hash: the body is read to its end first. */
  #collected: CollectedBody | undefined;
  #bytesUp = 0;
  #bodyBroken = false;
  #over = false;

  /** `misdirected`: the agent named another host before there was a request. */
  constructor(tunnel: AgentSide, head: RequestHead, misdirected: boolean) {
    this.tunnel = tunnel;
    this.head = head;
    this.#misdirected = misdirected;
    this.#path = head.method === 'CONNECT' ? '' : splitPath(head.bytes, head.targetStart, head.targetEnd);
    if (head.framing.kind !== 'none') this.#body = new RequestBody(tunnel.worker, head.framing);
    this.#preparation = new Preparation(this, tunnel, head, this.#path, this.#body);
  }

  /** Whether it has ended, one way or another. */
  get over(): boolean {
    return this.#over;
  }

  /** Whether the request's body is not whole yet. */
  get wantsBody(): boolean {
    return this.#body !== undefined && !this.#body.done;
  }

  /** Whether the agent's connection can take another request after this one, as far as is known now. */
  get persistent(): boolean {
    // RFC 9112, 9.3: a proxy keeps no connection with a client of HTTP/1.0.
    const { persistent, minor } = this.head;
    return persistent && minor === 1 && !this.wantsBody && !this.tunnel.worker.draining;
  }

  /** Whether a credential went with the request, and is searched for in the answer. */
  get searched(): boolean {
    return this.#preparation.isCredentialed;
  }

  /** Whether the agent has a part of its final answer. */
  get answering(): boolean {
    return this.#relay?.started === true;
  }

  /** Whether bytes of the body can go on now. */
  get takesBody(): boolean {
    return this.wantsBody && (this.#relay !== undefined || this.#collected !== undefined);
  }

  start(): void {
    this.#preparation.begin(this.#misdirected);
  }

  forward(rule: Rule, lease: Lease, upstream: UpstreamConnection): void {
    const { head, tunnel } = this;
    const { signing } = this.#preparation;
    if (signing && signing.payload.hash === undefined && !this.#collected?.hash) return this.#collect();
    let bytes: Buffer;
    let relay: Relay;
    try {
      if (head.connection.length > 0) this.accept = webSocketAccept(head);
      const { injection, target } = outgoingInjection(
        tunnel,
        head,
        rule,
        signing,
        lease,
        this.#collected?.hash,
      );
      const upgrade = this.accept !== undefined;
      bytes = outgoingHead(tunnel, head, injection, target, lease, upstream, this.searched, upgrade);
      relay = new Relay(this, upstream, scrubTargets(lease, injection), this.#preparation.record);
      this.#responseMs = rule.limits.responseTimeoutMs ?? tunnel.worker.settings.limits.responseTimeoutMs;
    } catch (error) {
      return this.fail(asSallyportError(error));
    }
    this.#relay = relay;
    this.#bytesUp += bytes.length;
    upstream.handler = relay;
    writeAndWipe(upstream.socket, bytes);
    const body = this.#collected?.take();
    if (body) upstream.socket.write(body);
    this.#bytesUp += body?.length ?? 0;
    this.#moved();
    if (this.wantsBody) tunnel.continue();
    else tunnel.watchEnd();
  }

  /** Reads the body, whose hash is to stand in the head, before anything is sent. */
  #collect(): void {
    this.#collected = new CollectedBody();
    this.#body?.moved(performance.now());
    if (this.head.expectContinue) this.tunnel.write(Buffer.from(CONTINUE));
    this.tunnel.continue();
  }

  #collectFrom(body: RequestBody, collected: CollectedBody, chunk: Buffer, at: number): number {
    try {
      const end = collected.read(body, chunk, at);
      if (body.done) setImmediate(() => this.#preparation.resume());
      return end;
    } catch (error) {
      this.#bodyBroke(asSallyportError(error));
      return chunk.length;
    }
  }

  /** Passes on the body's bytes in `chunk` from `at`, framing kept; returns the offset after them. */
  forwardBody(chunk: Buffer, at: number): number {
    const { upstream } = this.#preparation;
    const body = this.#body;
    if (body && this.#collected && !this.#relay) return this.#collectFrom(body, this.#collected, chunk, at);
    if (!upstream || !body) return chunk.length;
    let end: number;
    try {
      end = body.read(chunk, at);
    } catch (error) {
      this.#bodyBroke(asSallyportError(error));
      return chunk.length;
    }
    if (end > at) {
      this.#bytesUp += end - at;
      this.#moved();
      if (!upstream.socket.write(chunk.subarray(at, end))) {
        this.tunnel.pauseAgent();
        body.rest();
      }
    }
    if (body.done) this.tunnel.watchEndLater();
    return end;
  }

  /** Bytes of the request went out: from now on the agent has its time for more of its body, the server for its answer. */
  #moved(): void {
    const relay = this.#relay;
    if (this.#over || !relay || relay.started) return;
    const now = performance.now();
    relay.awaitAnswer(now + this.#responseMs);
    this.#body?.moved(now);
  }

  /** The server takes bytes again. */
  upstreamDrained(): void {
    this.#moved();
    this.tunnel.resumeAgent();
  }

  /** A body that breaks off or is malformed: the upstream never sees it complete, the agent gets its answer or a close. */
  #bodyBroke(error: SallyportError): void {
    this.#bodyBroken = true;
    this.#preparation.dropUpstream();
    if (this.answering) this.#finish(null, error.code, () => this.tunnel.destroy());
    else this.fail(error);
  }

  /** Asked when a new policy is in force: does it still allow this request with this very credential? */
  policyChanged(): boolean {
    // What is not forwarded yet asks for itself when it is.
    return this.#relay !== undefined && this.#preparation.lostItsRight();
  }

  /**
   * The upstream went away before it answered; `unprocessed`: having taken nothing of the request. True where that is
   * sent again on a new connection.
   */
  retry(unprocessed: boolean): boolean {
    const repeatable = (unprocessed || isRepeatable(this.head.method)) && !this.#body?.begun;
    if (!repeatable || !this.#preparation.retry(unprocessed)) return false;
    this.#relay = undefined;
    if (this.wantsBody) this.tunnel.pauseAgent(); // until it can be forwarded again
    return true;
  }

  /** The final answer's head is here: from now on only the peers decide how long it takes. */
  responseStarted(): void {
    this.#body?.rest();
  }

  /** The server has switched protocols: all that the agent sends now goes on as it is. */
  switched(): void {
    this.#body ??= new RequestBody(this.tunnel.worker, this.head.framing);
    this.#body.unframe();
    this.tunnel.continue();
  }

  /** The agent sends no more, where protocols are switched: the server is told. False where it waits for nothing. */
  endSwitched(): boolean {
    return this.#relay?.endSwitched() ?? false;
  }

  /** The answer is whole and with the agent. `reusable`: the upstream connection can take another request. */
  responseDone(status: number, reusable: boolean, persistent: boolean): void {
    const whole = !this.wantsBody;
    if (reusable && whole) this.#preparation.releaseUpstream();
    this.#finish(status, null, () => this.tunnel.exchangeDone(persistent && whole));
  }

  /**
   * The answer cannot be had or finished. A started one is cut so that it cannot pass for whole; `endless`: only the
   * connection's end would end it.
   */
  responseFailed(error: SallyportError, started: boolean, endless: boolean): void {
    this.#preparation.dropUpstream();
    if (!started && error.code === 'upstream_refused' && this.tunnel.refuse()) {
      return this.#finish(null, error.code, () => {});
    }
    if (!started) return this.fail(error);
    this.#finish(null, error.code, () => (endless ? this.tunnel.reset() : this.tunnel.destroy()));
  }

  agentDrained(): void {
    this.#relay?.agentDrained();
  }

  /** The right to it was taken away while it lasts. */
  revoked(): void {
    this.#finish(null, 'policy_denied', () => {});
  }

  /** The agent's connection is gone: nothing more to do for it, and nothing more for the upstream to do. */
  agentGone(): void {
    this.#finish(null, 'client_closed', () => {});
  }

  checkDeadlines(now: number): void {
    if (this.#over) return;
    const error = this.#body?.checkDeadline(now);
    if (error) return this.#bodyBroke(error);
    const late = this.#checkPace(now);
    if (late) this.#cutShort(late);
    else this.#relay?.checkDeadline(now);
  }

  #checkPace(now: number): SallyportError | undefined {
    const { rule, startedAt } = this.#preparation;
    if (!rule) return undefined; // refused, and about to be answered
    this.#pace ??= new Pace(this.tunnel.worker, rule.limits, startedAt);
    return this.#pace.check(now, this.#bytesUp + (this.#relay?.bytesDown ?? 0), this.answering);
  }

  /** Its time is up, in whatever state it is. */
  #cutShort(error: SallyportError): void {
    if (this.#relay) return this.#relay.fail(error);
    this.#preparation.end();
    if (this.#preparation.record === undefined) this.refuse(error);
    else this.fail(error);
  }

  refuse(error: SallyportError): void {
    recordRefusal(this.tunnel, this.head, this.#path, error, (unwritten) => {
      if (!this.#over) this.fail(unwritten ?? error);
    });
  }

  /** Answers with a problem. */
  fail(error: SallyportError): void {
    // With a body still coming the connection cannot be used again: where the next request begins would be a guess.
    const close = this.#bodyBroken || !this.persistent;
    const bodiless = this.head.method === 'HEAD';
    this.tunnel.write(problemResponse(error, { close, bodiless, reason: false }));
    this.#finish(error.status, error.code, () => this.tunnel.exchangeDone(!close));
  }

  #finish(status: number | null, error: string | null, then: () => void): void {
    if (this.#over) return;
    this.#over = true;
    this.#preparation.complete(status, error, this.#bytesUp, this.#relay?.bytesDown ?? 0);
    this.#relay?.destroy();
    this.#preparation.end();
    this.#collected?.drop();
    then();
  }
}
