import type { Buffer } from 'node:buffer';
import type { Rule } from '../../channel/messages/policy.ts';
import type { SallyportError } from '../../errors.ts';
import type { RequestHead } from '../http/message.ts';
import { timedOut } from '../relay/faults.ts';
import { Relay } from '../relay/relay.ts';
import type { Lease } from '../secrets/hot-secrets.ts';
import type { UpstreamConnection } from '../upstream/connection.ts';
import { webSocketAccept } from '../websocket/handshake.ts';
import { writeAndWipe } from '../write-once.ts';
import type { AgentSide } from './agent-side.ts';
import type { Carried } from './carried.ts';
import { isRepeatable, outgoingHead, scrubTargets } from './outgoing.ts';
import type { Preparation } from './preparation.ts';
import type { RequestBody } from './request-body.ts';
import { outgoingInjection } from './signing.ts';

/** Between the agent's end of a WebSocket and that of its server. */
const LAST_WORDS_MS = 2_000;

/** A request that has been forwarded: its body goes one way, the answer, through a Relay, comes the other. */
export class Carriage {
  readonly #of: Carried;
  readonly #preparation: Preparation;
  readonly tunnel: AgentSide;
  readonly head: RequestHead;
  /** What a server answers that agrees to the agent's WebSocket handshake; undefined for every other request. */
  accept: string | undefined;
  /** Undefined while it is to be sent again. */
  #relay: Relay | undefined;
  /** The server's time from the request's end to the answer's head. */
  #responseMs = 0;
  /** When its answer is to have begun, or the last of a WebSocket to have come. */
  #deadline = Number.POSITIVE_INFINITY;
  #switched = false;
  #bytesUp = 0;

  constructor(of: Carried, preparation: Preparation) {
    this.#of = of;
    this.#preparation = preparation;
    this.tunnel = of.tunnel;
    this.head = of.head;
  }

  /** Sends the head, with the body where that was collected. Throws what goes into it cannot be made of. */
  send(rule: Rule, lease: Lease, upstream: UpstreamConnection): void {
    const { head, tunnel } = this;
    const { signing, record } = this.#preparation;
    const { body } = this.#of;
    if (head.connection.length > 0) this.accept = webSocketAccept(head);
    const { injection, target } = outgoingInjection(tunnel, head, rule, signing, lease, body?.hash);
    const upgrade = this.accept !== undefined;
    const bytes = outgoingHead(tunnel, head, injection, target, lease, upstream, this.searched, upgrade);
    const relay = new Relay(this, upstream, scrubTargets(lease, injection), record);
    this.#responseMs = rule.limits.responseTimeoutMs ?? tunnel.worker.settings.limits.responseTimeoutMs;
    this.#relay = relay;
    this.#bytesUp += bytes.length;
    upstream.handler = relay;
    writeAndWipe(upstream.socket, bytes);
    const collected = body?.takeCollected();
    if (collected) upstream.socket.write(collected);
    this.#bytesUp += collected?.length ?? 0;
    this.#moved();
    if (this.#of.wantsBody) tunnel.continue();
    else tunnel.watchEnd();
  }

  /** Passes on the body's bytes in `chunk` from `at`, framing kept; returns the offset after them. Throws what `body` throws. */
  forwardBody(body: RequestBody, chunk: Buffer, at: number): number {
    const { upstream } = this.#preparation.supply;
    if (!upstream) return chunk.length;
    const end = body.read(chunk, at);
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
    if (!relay || relay.started) return;
    const now = performance.now();
    this.#deadline = now + this.#responseMs;
    this.#of.body?.moved(now);
  }

  /** False while it is to be sent again. */
  get underWay(): boolean {
    return this.#relay !== undefined;
  }

  /** Whether the agent has a part of its final answer. */
  get answering(): boolean {
    return this.#relay?.started === true;
  }

  /** Bytes up, of the last try. */
  get bytesUp(): number {
    return this.#bytesUp;
  }

  get bytesDown(): number {
    return this.#relay?.bytesDown ?? 0;
  }

  /** Whether a credential went with the request, and is searched for in the answer. */
  get searched(): boolean {
    return this.#preparation.isCredentialed;
  }

  get persistent(): boolean {
    return this.#of.persistent;
  }

  agentDrained(): void {
    this.#relay?.agentDrained();
  }

  /** The agent sends no more: the server is told, and has a moment to say its last. False unless protocols are switched. */
  endSwitched(): boolean {
    if (!this.#switched) return false;
    this.#preparation.supply.upstream?.socket.end();
    this.#deadline = performance.now() + LAST_WORDS_MS;
    return true;
  }

  checkDeadline(now: number): void {
    if (now < this.#deadline) return;
    this.#deadline = Number.POSITIVE_INFINITY;
    if (this.#switched) return this.tunnel.destroy();
    this.tunnel.worker.metrics.limit('slow_answer');
    this.#relay?.fail(timedOut());
  }

  /** Ends it with that error, in whatever state the answer is; false where there is none to come. */
  cutShort(error: SallyportError): boolean {
    this.#relay?.fail(error);
    return this.#relay !== undefined;
  }

  destroy(): void {
    this.#relay?.destroy();
  }

  /** The server takes bytes again. */
  upstreamDrained(): void {
    this.#moved();
    this.tunnel.resumeAgent();
  }

  /**
   * The upstream went away before it answered; `unprocessed`: having taken nothing of the request. True where that is
   * sent again on a new connection.
   */
  retry(unprocessed: boolean): boolean {
    const repeatable = (unprocessed || isRepeatable(this.head.method)) && !this.#of.body?.begun;
    if (!repeatable || !this.#preparation.retry(unprocessed)) return false;
    this.#relay = undefined;
    this.#deadline = Number.POSITIVE_INFINITY;
    if (this.#of.wantsBody) this.tunnel.pauseAgent(); // until it can be forwarded again
    return true;
  }

  /** The final answer's head is here: from now on only the peers decide how long it takes. */
  responseStarted(): void {
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#of.body?.rest();
  }

  /** The server has switched protocols: all that the agent sends now goes on as it is. */
  switched(): void {
    this.#switched = true;
    this.#of.switchBody();
  }

  /** The answer is whole and with the agent. `reusable`: the upstream connection can take another request. */
  responseDone(status: number, reusable: boolean, persistent: boolean): void {
    const whole = !this.#of.wantsBody;
    if (reusable && whole) this.#preparation.supply.release();
    this.#of.finish(status, null, () => this.tunnel.exchangeDone(persistent && whole));
  }

  /**
   * The answer cannot be had or finished. A started one is cut so that it cannot pass for whole; `endless`: only the
   * connection's end would end it.
   */
  responseFailed(error: SallyportError, started: boolean, endless: boolean): void {
    const { tunnel } = this;
    this.#preparation.supply.drop();
    if (started) {
      this.#of.finish(null, error.code, () => (endless ? tunnel.reset() : tunnel.destroy()));
    } else if (error.code === 'upstream_refused' && tunnel.refuse()) {
      this.#of.finish(null, error.code, () => {});
    } else this.#of.fail(error);
  }
}
