import type { Rule } from '../../channel/messages/policy.ts';
import { SallyportError } from '../../errors.ts';
import type { RequestHead } from '../http/message.ts';
import type { Lease } from '../secrets/hot-secrets.ts';
import type { UpstreamConnection } from '../upstream/connection.ts';
import type { AgentSide } from './agent-side.ts';
import { certificateField, clientIdentity, fetchSecret, hotSecret, upstreamKey } from './needs.ts';
import type { Signing } from './signing.ts';

/** The secret and the connection that a request goes with: at once where both are at hand, else the slow way. */
export class Supply {
  readonly #side: AgentSide;
  readonly #head: RequestHead;
  /** Only while a connection is being opened: making one for every request took a tenth of its CPU time. */
  #opening: AbortController | undefined;
  #over = false;
  lease: Lease | undefined;
  upstream: UpstreamConnection | undefined;

  constructor(side: AgentSide, head: RequestHead) {
    this.#side = side;
    this.#head = head;
  }

  /** Takes what is at hand; true where that is all. */
  take(rule: Rule, signing: Signing | undefined): boolean {
    this.lease = hotSecret(this.#side.worker, rule, signing);
    this.takeIdle(rule);
    return this.lease !== undefined && this.upstream !== undefined;
  }

  /** Takes an idle connection, where there is one. */
  takeIdle(rule: Rule): void {
    this.upstream = this.#side.worker.stages.pool.takeIdle(upstreamKey(this.#side, this.#head, rule));
  }

  /** Gets what was not at hand, the secret from the vault and a new connection, both at once. Answers why it could not. */
  async fetch(rule: Rule, path: string, signing: Signing | undefined): Promise<unknown> {
    const request = { method: this.#head.method, path };
    const leasing = this.lease ?? fetchSecret(this.#side, rule, request, signing);
    const [leased, opened] = await Promise.allSettled([leasing, this.upstream ?? this.#open(rule, leasing)]);
    if (leased.status === 'fulfilled') this.lease = leased.value;
    if (opened.status === 'fulfilled') this.upstream = opened.value;
    if (this.#over) this.letGo();
    return [leased, opened].find((each) => each.status === 'rejected')?.reason;
  }

  /** A new connection, in place of none. Throws what UpstreamPool.open throws. */
  async reconnect(rule: Rule): Promise<void> {
    this.upstream = await this.#open(rule, this.lease);
    if (this.#over) this.letGo();
  }

  /** The lease is waited for only where the connection shows a certificate of it. */
  async #open(rule: Rule, leasing: Lease | undefined | Promise<Lease>): Promise<UpstreamConnection> {
    const { pool } = this.#side.worker.stages;
    const field = certificateField(rule);
    const lease = field === undefined ? undefined : await leasing;
    const identity = field !== undefined && lease ? clientIdentity(field, lease) : undefined;
    this.#opening = new AbortController();
    if (this.#over) this.#opening.abort();
    try {
      return await pool.open(upstreamKey(this.#side, this.#head, rule), this.#opening.signal, identity);
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'upstream_timeout')
        this.#side.worker.metrics.limit('slow_connect');
      throw error;
    } finally {
      this.#opening = undefined;
    }
  }

  /** The connection can take another request. */
  release(): void {
    this.upstream?.release();
    this.upstream = undefined;
  }

  /** The connection is of no more use. */
  drop(): void {
    this.upstream?.destroy();
    this.upstream = undefined;
  }

  /** Neither is of use here. */
  letGo(): void {
    this.lease?.release();
    this.lease = undefined;
    this.drop();
  }

  /** The same for good: what is on its way here is let go as it comes. */
  end(): void {
    this.#over = true;
    this.#opening?.abort();
    this.letGo();
  }
}
