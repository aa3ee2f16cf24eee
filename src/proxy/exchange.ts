import type { Rule } from '../channel/messages/policy.ts';
import { SallyportError } from '../errors.ts';
import type { AgentSide } from './agent-side.ts';
import { isFor, originForm } from './authority.ts';
import { createBodyReader } from './http/body.ts';
import { findField } from './http/find-field.ts';
import type { BodyReader, RequestHead } from './http/message.ts';
import { splitPath } from './http/target.ts';
import { type CompiledInjection, compileInjection } from './injection/registry.ts';
import { writeRequestHead } from './injection/request-head.ts';
import { PASSED } from './policy/match.ts';
import type { Refusal } from './policy/refusal.ts';
import { asSallyportError, problemResponse } from './problem.ts';
import { Relay } from './relay.ts';
import type { Lease } from './secrets/hot-secrets.ts';
import type { UpstreamConnection, UpstreamKey } from './upstream/pool.ts';
import { webSocketAccept } from './websocket/handshake.ts';
import { Unframed } from './websocket/unframed.ts';
import { secretKey, type Worker } from './worker.ts';

/** RFC 9110, 9.2.2: what may be sent again when a connection that was idle turns out to be dead. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']);

/** What stands for the lease and the record of a credential where a request goes without one. */
const NO_SECRET: Lease = { fields: new Map(), release: () => {} };
const WITHOUT = { service: null, credential: null, version: null };

/** Between the agent's end of a WebSocket and that of its server. */
const LAST_WORDS_MS = 2_000;

/** How often a credential may be replaced while one request is prepared. */
const MAX_DECISIONS = 3;
/** Less than a worker may take to put a policy in force. */
const NEWER_POLICY_MS = 2_000;
/** Turns of the event loop: one is the rule. */
const SETTLE_TURNS = 3;

/**
 * One request and its answer: decided by the policy in force, its secret leased, its connection at hand, its record
 * written, and only then forwarded. Every way out passes #finish, which ends the lease and completes the record.
 */
export class Exchange {
  readonly tunnel: AgentSide;
  readonly head: RequestHead;
  readonly #worker: Worker;
  readonly #path: string;
  readonly #misdirected: boolean;
  readonly #startedAt = performance.now();
  #body: BodyReader;
  /** What a server answers that agrees to the agent's WebSocket handshake; undefined for every other request. */
  accept: string | undefined;
  #switched = false;
  /** Only while a connection is being opened: making one for every request took a tenth of its CPU time. */
  #opening: AbortController | undefined;
  #rule: Rule | undefined;
  #revision = 0;
  #lease: Lease | undefined;
  #upstream: UpstreamConnection | undefined;
  #relay: Relay | undefined;
  #record: number | undefined;
  #forwardedAt = 0;
  #retried = false;
  #unsettled = 0;
  #decisions = 0;
  #bodyBroken = false;
  #bodySent = false;
  #over = false;
  #bytesUp = 0;
  #deadline = Number.POSITIVE_INFINITY;
  /** When the agent's body last moved on; infinite while the agent is not the one to wait for. */
  #bodyMovedAt = Number.POSITIVE_INFINITY;

  constructor(tunnel: AgentSide, head: RequestHead, misdirected: boolean) {
    this.tunnel = tunnel;
    this.head = head;
    this.#worker = tunnel.worker;
    this.#misdirected = misdirected;
    this.#path = head.method === 'CONNECT' ? '' : splitPath(head.bytes, head.targetStart, head.targetEnd);
    this.#body = createBodyReader(head.framing, 'request', tunnel.worker.settings.limits);
  }

  /** Whether it has ended, one way or another. */
  get over(): boolean {
    return this.#over;
  }

  /** Whether the request's body is not whole yet. */
  get wantsBody(): boolean {
    return !this.#body.done;
  }

  /** Whether the agent's connection can take another request after this one, as far as is known now. */
  get persistent(): boolean {
    // RFC 9112, 9.3: a proxy keeps no connection with a client of HTTP/1.0.
    const { persistent, minor } = this.head;
    return persistent && minor === 1 && this.#body.done && !this.#worker.draining;
  }

  /** Whether a credential went with the request, and is searched for in the answer. */
  get searched(): boolean {
    return this.#rule !== PASSED;
  }

  /** Whether the agent has a part of its final answer. */
  get answering(): boolean {
    return this.#relay?.started === true;
  }

  /** Whether bytes of the body can go on now. */
  get takesBody(): boolean {
    return !this.#body.done && this.#relay !== undefined;
  }

  start(): void {
    try {
      this.#rule = this.#decide();
      this.#checkBodySize(this.head.framing.kind === 'length' ? this.head.framing.length : 0);
      if (this.head.framing.kind === 'chunked') this.#body = this.#guardTrailers(this.#rule);
      this.#lease = this.#hotSecret(this.#rule);
      this.#upstream = this.#worker.stages.pool.takeIdle(this.#destination(this.#rule));
      if (this.#lease && this.#upstream) this.#commit(this.#rule);
      else void this.#prepare(this.#rule);
    } catch (error) {
      this.#refuse(asSallyportError(error));
    }
  }

  /** Steps 3 and 4 of a request's walk: is it for this host, and may this agent make it? */
  #decide(): Rule {
    const { tunnel, head } = this;
    const unavailable = this.#worker.refusal();
    if (unavailable) throw unavailable;
    if (head.method === 'CONNECT' || head.method === 'TRACE') {
      throw new SallyportError(
        'method_not_supported',
        `${head.method} is not carried inside a tunnel, so nothing was sent: use another method.`,
      );
    }
    // RFC 9110, 7.6.2: such a request is to be answered on the way. Nobody on this way answers.
    if (head.method === 'OPTIONS' && findField(head.fields, 'max-forwards') >= 0) {
      const why = 'Max-Forwards is not supported, so nothing was sent: leave it out.';
      throw new SallyportError('method_not_supported', why);
    }
    if (this.#misdirected || !isFor(head, tunnel.host, tunnel.port, tunnel.scheme, tunnel.authority)) {
      throw new SallyportError(
        'misdirected_request',
        `The request names another host than the tunnel to ${tunnel.host}: open a tunnel to the host that you mean.`,
      );
    }
    this.#revision = this.#worker.policy.revision;
    const found = this.#match();
    if ('code' in found) throw new SallyportError(found.code, found.message);
    return found;
  }

  #match(): Rule | Refusal {
    const { policy } = this.#worker;
    const { agent, host, port, scheme } = this.tunnel;
    const { method } = this.head;
    return scheme === 'https'
      ? policy.match(agent, host, port, method, this.#path)
      : policy.matchPlain(agent, host, port, method, this.#path);
  }

  /** Throws content_too_large where a body of so many bytes, or more, is beyond the limit of its service. */
  #checkBodySize(bytes: number): void {
    const most = this.#rule?.bodyBytes ?? this.#worker.settings.limits.bodyBytes;
    if (most === null || bytes <= most) return;
    this.#worker.metrics.limit('body_size');
    throw new SallyportError(
      'content_too_large',
      `The body is larger than the ${most} bytes that are allowed here: send a smaller one, or ask the owner to raise the limit of this service.`,
    );
  }

  /** A credential field that came back in a trailer would be a second one, of the agent's own making. */
  #guardTrailers(rule: Rule): BodyReader {
    const { names } = compileInjection(rule.inject);
    return createBodyReader(this.head.framing, 'request', this.#worker.settings.limits, names);
  }

  #hotSecret(rule: Rule): Lease | undefined {
    if (rule === PASSED) return NO_SECRET;
    if (rule.perRequest) return undefined;
    return this.#worker.stages.secrets.get(secretKey(rule.credential, rule.version));
  }

  #destination(rule: Rule): UpstreamKey {
    const { host, port, agent, scheme, grpc } = this.tunnel;
    const identity = `${rule.credential} ${rule.version}`;
    // A WebSocket is begun in HTTP/1.1.
    if ((rule.http2 || grpc) && scheme === 'https' && !this.head.connection.includes('upgrade')) {
      return { host, port, agent, identity, http2: compileInjection(rule.inject).names };
    }
    return {
      plain: scheme === 'http',
      host,
      port,
      agent,
      identity,
    };
  }

  /** The slow way: the secret from the vault, a new connection, or both at once. */
  async #prepare(rule: Rule): Promise<void> {
    this.tunnel.watchEndLater();
    const opening = this.#upstream ?? this.#open(rule);
    const [leased, opened] = await Promise.allSettled([this.#lease ?? this.#fetchSecret(rule), opening]);
    if (leased.status === 'fulfilled') this.#lease = leased.value;
    if (opened.status === 'fulfilled') this.#upstream = opened.value;
    const failure = [leased, opened].find((each) => each.status === 'rejected');
    if (this.#over) return this.#letGo();
    if (!failure) return this.#commit(rule);
    const error = asSallyportError(failure.reason);
    if (error.code === 'credential_missing') void this.#decideAgain(error);
    else this.#refuse(error);
  }

  /**
   * The credential was replaced while the request was prepared: decides by the newest policy, so that a replacement is
   * not the agent's trouble. `missing`: the vault has the new version already; its policy is on the way here.
   */
  async #decideAgain(missing?: SallyportError): Promise<void> {
    if (missing) await this.#worker.policyAfter(this.#revision, NEWER_POLICY_MS);
    const unchanged = missing !== undefined && this.#worker.policy.revision === this.#revision;
    if (this.#record !== undefined) this.#recordOutcome(null, 'credential_missing');
    this.#record = undefined;
    this.#letGo();
    if (this.#over) return;
    if (unchanged || ++this.#decisions > MAX_DECISIONS) return this.#refuse(missing ?? replacedAgain());
    this.start();
  }

  async #open(rule: Rule): Promise<UpstreamConnection> {
    this.#opening = new AbortController();
    try {
      return await this.#worker.stages.pool.open(this.#destination(rule), this.#opening.signal);
    } finally {
      this.#opening = undefined;
    }
  }

  async #fetchSecret(rule: Rule): Promise<Lease> {
    const { vault, secrets } = this.#worker.stages;
    const { host, port, agent, token } = this.tunnel;
    const { credential, version } = rule;
    const key = secretKey(credential, version);
    const asked = { agent, rule: rule.id, credential, version, host, port };
    if (!rule.perRequest) {
      return vault.secret(asked, token, (fields, maxAgeMs) => secrets.put(key, fields, maxAgeMs));
    }
    const request = { method: this.head.method, path: this.#path };
    return vault.secret({ ...asked, request }, token, (fields) => secrets.lend(fields));
  }

  /** Writes the record; forwards once it is in the file (promise 5). */
  #commit(rule: Rule): void {
    const { tunnel, head } = this;
    const intent = {
      agent: tunnel.agentName,
      method: head.method,
      host: tunnel.host,
      port: tunnel.port,
      path: this.#path,
      ...(rule === PASSED
        ? WITHOUT
        : { service: rule.service, credential: rule.credential, version: rule.version }),
      decision: rule === PASSED ? ('passed' as const) : ('injected' as const),
      reason: rule.id,
    };
    this.#record = this.#worker.stages.journal.intent(intent, (error) => {
      if (this.#over) return;
      if (error) this.#answer(error);
      else this.#forward(rule);
    });
  }

  #forward(rule: Rule): void {
    // The policy may have changed since the decision: what is sent now must be right now (promise 7).
    if (this.#lostItsRight()) return void this.#decideAgain();
    const { head, tunnel } = this;
    const { pool } = this.#worker.stages;
    if (this.#upstream?.socket.destroyed) this.#upstream = pool.takeIdle(this.#destination(rule));
    if (!this.#upstream) return void this.#reconnect(rule);
    const upstream = this.#upstream;
    if (!upstream.isSettled) return this.#settle(rule, upstream);
    const lease = this.#lease;
    if (!lease) return this.#answer(asSallyportError(new Error('forwarded without a lease')));
    let bytes: Buffer;
    let relay: Relay;
    try {
      if (head.connection.length > 0) this.accept = webSocketAccept(head);
      const injection = compileInjection(rule.inject);
      const outgoing = {
        head,
        target: originForm(head),
        injection,
        fields: lease.fields,
        identityOnly: this.searched,
        upgrade: this.accept !== undefined,
        authority: tunnel.authority,
        room: upstream.headRoom,
      };
      bytes = writeRequestHead(outgoing).bytes;
      relay = new Relay(this, tunnel, upstream, scrubTargets(lease, injection));
    } catch (error) {
      return this.#answer(asSallyportError(error));
    }
    this.#relay = relay;
    this.#forwardedAt = performance.now();
    this.#bytesUp += bytes.length;
    upstream.handler = relay;
    // One write on an idle, secured socket leaves no copy behind; wiped as soon as it is encrypted.
    upstream.socket.write(bytes, () => bytes.fill(0));
    this.#moved();
    if (this.#body.done) tunnel.watchEnd();
    else tunnel.continue();
  }

  /** Waits for the previous request's write to be reported done; in doubt, takes a new connection. */
  #settle(rule: Rule, upstream: UpstreamConnection): void {
    if (++this.#unsettled > SETTLE_TURNS) {
      upstream.destroy();
      this.#upstream = undefined;
    }
    setImmediate(() => {
      if (!this.#over) this.#forward(rule);
    });
  }

  async #reconnect(rule: Rule): Promise<void> {
    try {
      this.#upstream = await this.#open(rule);
      if (this.#over) this.#letGo();
      else this.#forward(rule);
    } catch (error) {
      if (!this.#over) this.#answer(asSallyportError(error));
    }
  }

  /** Passes on the body's bytes in `chunk` from `at`, framing kept; returns the offset after them. */
  forwardBody(chunk: Buffer, at: number): number {
    const upstream = this.#upstream;
    if (!upstream) return chunk.length;
    let end: number;
    try {
      end = this.#body.read(chunk, at);
      this.#checkBodySize(this.#body.contentBytes);
    } catch (error) {
      this.#bodyBroke(asSallyportError(error));
      return chunk.length;
    }
    if (end > at) {
      this.#bytesUp += end - at;
      this.#moved();
      if (!upstream.socket.write(chunk.subarray(at, end))) {
        this.tunnel.pauseAgent();
        this.#bodyMovedAt = Number.POSITIVE_INFINITY;
      }
    }
    this.#bodySent = true;
    if (this.#body.done) this.tunnel.watchEndLater();
    return end;
  }

  /** Bytes of the request went out: from now on the agent has its time for more of its body, the server for its answer. */
  #moved(): void {
    if (this.#over || this.#relay?.started) return;
    const now = performance.now();
    this.#deadline = now + this.#worker.settings.limits.responseTimeoutMs;
    this.#bodyMovedAt = this.#body.done ? Number.POSITIVE_INFINITY : now;
  }

  /** The server takes bytes again. */
  upstreamDrained(): void {
    this.#moved();
    this.tunnel.resumeAgent();
  }

  /** A body that breaks off or is malformed: the upstream never sees it complete, the agent gets its answer or a close. */
  #bodyBroke(error: SallyportError): void {
    this.#bodyBroken = true;
    this.#upstream?.destroy();
    this.#upstream = undefined;
    if (this.#relay?.started) this.#finish(null, error.code, () => this.tunnel.destroy());
    else this.#answer(error);
  }

  /** Asked when a new policy is in force: does it still allow this request with this very credential? */
  policyChanged(): boolean {
    // What is not forwarded yet asks for itself when it is.
    return this.#relay !== undefined && this.#lostItsRight();
  }

  #lostItsRight(): boolean {
    const { policy } = this.#worker;
    const rule = this.#rule;
    if (!rule || policy.revision === this.#revision) return false;
    const found = this.#match();
    this.#revision = policy.revision;
    return 'code' in found || found.credential !== rule.credential || found.version !== rule.version;
  }

  /** The upstream went away before it answered. True where the request was sent again on a new connection. */
  retry(): boolean {
    const rule = this.#rule;
    const repeatable = IDEMPOTENT.has(this.head.method) && !this.#bodySent;
    if (!rule || !repeatable || this.#retried || !this.#upstream?.reused || this.#over) return false;
    this.#retried = true;
    this.#relay = undefined;
    this.#upstream.destroy();
    this.#upstream = undefined;
    void this.#reconnect(rule);
    return true;
  }

  /** The final answer's head is here: from now on only the peers decide how long it takes. */
  responseStarted(): void {
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#bodyMovedAt = Number.POSITIVE_INFINITY;
  }

  /** The server has switched protocols: all that the agent sends now goes on as it is. */
  switched(): void {
    this.#switched = true;
    this.#body = new Unframed();
    this.responseStarted();
    this.tunnel.continue();
  }

  /** The agent sends no more: the server is told, and has a moment to say its last. False where it waits for nothing. */
  endSwitched(): boolean {
    if (!this.#switched) return false;
    this.#upstream?.socket.end();
    this.#deadline = performance.now() + LAST_WORDS_MS;
    return true;
  }

  /** The answer is whole and with the agent. `reusable`: the upstream connection can take another request. */
  responseDone(status: number, reusable: boolean, persistent: boolean): void {
    const whole = this.#body.done;
    if (reusable && whole) this.#upstream?.release();
    else this.#upstream?.destroy();
    this.#upstream = undefined;
    this.#finish(status, null, () => this.tunnel.exchangeDone(persistent && whole));
  }

  /**
   * The answer cannot be had or finished. A started one is cut so that it cannot pass for whole; `endless`: only the
   * connection's end would end it.
   */
  responseFailed(error: SallyportError, started: boolean, endless: boolean): void {
    this.#upstream?.destroy();
    this.#upstream = undefined;
    if (started)
      this.#finish(null, error.code, () => (endless ? this.tunnel.reset() : this.tunnel.destroy()));
    else this.#answer(error);
  }

  scrubbed(where: 'head' | 'body' | 'trailer', hits: number): void {
    if (this.#record !== undefined) this.#worker.stages.journal.scrubbed(this.#record, where, hits);
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
    if (!this.#over) this.#finish(null, 'client_closed', () => {});
  }

  checkDeadlines(now: number): void {
    if (this.#over) return;
    if (now - this.#bodyMovedAt > this.#worker.settings.limits.bodyTimeoutMs) {
      this.#bodyMovedAt = Number.POSITIVE_INFINITY;
      this.#worker.metrics.limit('slow_body');
      const why = 'The body of the request stopped coming: send it without long pauses.';
      return this.#bodyBroke(new SallyportError('request_timeout', why));
    }
    if (now < this.#deadline) return;
    this.#deadline = Number.POSITIVE_INFINITY;
    if (this.#switched) return this.tunnel.destroy();
    const message = 'The server did not begin to answer in time; the key is healthy. Try again later.';
    this.responseFailed(
      new SallyportError('upstream_timeout', message),
      this.#relay?.started ?? false,
      false,
    );
  }

  /** Refuses a request of which nothing was forwarded: the record first, then the answer. */
  #refuse(error: SallyportError): void {
    const { tunnel, head } = this;
    const asked = {
      agent: tunnel.agentName,
      method: head.method,
      host: tunnel.host,
      port: tunnel.port,
      path: this.#path,
    };
    this.#worker.stages.journal.refusal(asked, error, (unwritten) => {
      if (!this.#over) this.#answer(unwritten ?? error);
    });
  }

  #answer(error: SallyportError): void {
    // With a body still coming the connection cannot be used again: where the next request begins would be a guess.
    const close = this.#bodyBroken || !this.persistent;
    this.tunnel.write(
      problemResponse(error, { close, bodiless: this.head.method === 'HEAD', reason: false }),
      undefined,
    );
    this.#finish(error.status, error.code, () => this.tunnel.exchangeDone(!close));
  }

  #finish(status: number | null, error: string | null, then: () => void): void {
    if (this.#over) return;
    this.#over = true;
    this.#opening?.abort();
    this.#recordOutcome(status, error);
    this.#letGo();
    then();
  }

  #recordOutcome(status: number | null, error: string | null): void {
    if (this.#record === undefined) return;
    const now = performance.now();
    this.#worker.stages.journal.outcome(this.#record, {
      status,
      error,
      overheadMs: (this.#forwardedAt || now) - this.#startedAt,
      totalMs: now - this.#startedAt,
      bytesUp: this.#bytesUp,
      bytesDown: this.#relay?.bytesDown ?? 0,
    });
  }

  #letGo(): void {
    this.#relay?.destroy();
    this.#lease?.release();
    this.#lease = undefined;
    this.#upstream?.destroy();
    this.#upstream = undefined;
  }
}

/** What to look for in the answer: the secret fields as leased, and new buffers for the forms in which they travel. */
function scrubTargets(lease: Lease, injection: CompiledInjection): { leased: Buffer[]; owned: Buffer[] } {
  const leased: Buffer[] = [];
  for (const { value, secret } of lease.fields.values()) if (secret) leased.push(value);
  return { leased, owned: injection.scrubTargets(lease.fields) };
}

function replacedAgain(): SallyportError {
  return new SallyportError(
    'credential_missing',
    'The credential was being replaced while the request was prepared, so nothing was sent: send it again.',
  );
}
