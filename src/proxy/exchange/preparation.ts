import type { Rule } from '../../channel/messages/policy.ts';
import type { SallyportError } from '../../errors.ts';
import type { RequestHead } from '../http/message.ts';
import { PASSED } from '../policy/match.ts';
import { asSallyportError } from '../problem.ts';
import type { Lease } from '../secrets/hot-secrets.ts';
import type { UpstreamConnection } from '../upstream/connection.ts';
import type { AgentSide } from './agent-side.ts';
import { decide, holdsStill } from './decision.ts';
import { replacedAgain, tokenRefused } from './needs.ts';
import { recordIntent } from './records.ts';
import type { RequestBody } from './request-body.ts';
import { type Signing, signingOf } from './signing.ts';
import { Supply } from './supply.ts';

const UNAUTHORIZED = 401;
/** How often a credential may be replaced while one request is prepared. */
const MAX_DECISIONS = 3;
/** Less than a worker may take to put a policy in force. */
const NEWER_POLICY_MS = 2_000;
/** Turns of the event loop: one is the rule. */
const SETTLE_TURNS = 3;

/** Whose request is prepared; told one of these, in a later turn where it takes time. */
export interface Preparing {
  /** All is at hand and the record is in the file: the request may go, now. */
  forward(rule: Rule, lease: Lease, upstream: UpstreamConnection): void;
  /** It may not be made, or cannot: to be recorded, then answered. */
  refuse(error: SallyportError): void;
  /** It cannot be forwarded after all, though its record says so. */
  fail(error: SallyportError): void;
}

/**
 * What comes before a request is forwarded: a rule in force, its supply, its record; all of it anew where the credential
 * is replaced meanwhile.
 */
export class Preparation {
  readonly #of: Preparing;
  readonly #side: AgentSide;
  readonly #head: RequestHead;
  readonly #path: string;
  readonly #body: RequestBody | undefined;
  readonly startedAt = performance.now();
  readonly supply: Supply;
  #forwardedAt = 0;
  #revision = 0;
  #retried = false;
  #unsettled = 0;
  #decisions = 0;
  #over = false;
  /** Undefined until one lets the request through. */
  rule: Rule | undefined;
  /** What the request is signed for, where its rule signs. */
  signing: Signing | undefined;
  /** The record's id. */
  record: number | undefined;

  constructor(
    of: Preparing,
    side: AgentSide,
    head: RequestHead,
    path: string,
    body: RequestBody | undefined,
  ) {
    this.#of = of;
    this.#side = side;
    this.#head = head;
    this.#path = path;
    this.#body = body;
    this.supply = new Supply(side, head);
  }

  /** `misdirected`: the agent named another host before there was a request. */
  begin(misdirected: boolean): void {
    try {
      this.#revision = this.#side.worker.policy.revision;
      const rule = decide(this.#side, this.#head, this.#path, misdirected);
      this.rule = rule;
      this.#body?.admit(rule);
      this.signing = signingOf(this.#side, this.#head, rule);
      if (this.supply.take(rule, this.signing)) this.#commit(rule);
      else void this.#fetch(rule);
    } catch (error) {
      this.#of.refuse(asSallyportError(error));
    }
  }

  /** Whether a credential goes with the request. */
  get isCredentialed(): boolean {
    return this.rule !== PASSED;
  }

  /** Asked when a new policy is in force: does it forbid this request, or give it another credential? */
  lostItsRight(): boolean {
    const { revision } = this.#side.worker.policy;
    const rule = this.rule;
    if (!rule || revision === this.#revision) return false;
    this.#revision = revision;
    return !holdsStill(rule, this.#side, this.#head, this.#path);
  }

  /** Goes on where `forward` had something to wait for: all is looked at again. */
  resume(): void {
    if (this.rule && !this.#over) this.#confirm(this.rule);
  }

  /**
   * A new connection in place of one that had served others and died of it, or whatever it was where the server has
   * processed nothing; false where that is not so, and the second time.
   */
  retry(unprocessed: boolean): boolean {
    const { rule, supply } = this;
    if (!rule || this.#retried || this.#over) return false;
    if (!unprocessed && !supply.upstream?.reused) return false;
    this.#retried = true;
    supply.drop();
    void this.#reconnect(rule);
    return true;
  }

  /** Completes the record, where there is one. */
  complete(status: number | null, error: string | null, bytesUp: number, bytesDown: number): void {
    if (this.record === undefined) return;
    if (status === UNAUTHORIZED && this.rule?.token === 'kept') tokenRefused(this.#side.worker, this.rule);
    const now = performance.now();
    const overheadMs = (this.#forwardedAt || now) - this.startedAt;
    const totalMs = now - this.startedAt;
    const outcome = { status, error, overheadMs, totalMs, bytesUp, bytesDown };
    this.#side.worker.stages.journal.outcome(this.record, outcome);
  }

  /** The request is over: gives back what it held. */
  end(): void {
    this.#over = true;
    this.supply.end();
  }

  async #fetch(rule: Rule): Promise<void> {
    this.#side.watchEndLater();
    const failure = await this.supply.fetch(rule, this.#path, this.signing);
    if (this.#over) return;
    if (failure === undefined) return this.#commit(rule);
    const error = asSallyportError(failure);
    if (error.code === 'credential_missing') void this.#decideAgain(error);
    else this.#of.refuse(error);
  }

  /**
   * The credential was replaced while the request was prepared: decides by the newest policy, so that a replacement is
   * not the agent's trouble. `missing`: the vault has the new version already; its policy is on the way here.
   */
  async #decideAgain(missing?: SallyportError): Promise<void> {
    const { worker } = this.#side;
    if (missing) await worker.policyAfter(this.#revision, NEWER_POLICY_MS);
    const unchanged = missing !== undefined && worker.policy.revision === this.#revision;
    this.complete(null, 'credential_missing', 0, 0);
    this.record = undefined;
    this.supply.letGo();
    if (this.#over) return;
    if (unchanged || ++this.#decisions > MAX_DECISIONS) return this.#of.refuse(missing ?? replacedAgain());
    this.begin(false);
  }

  /** Writes the record; goes on once it is in the file (promise 5). */
  #commit(rule: Rule): void {
    this.record = recordIntent(this.#side, this.#head, this.#path, rule, (error) => {
      if (this.#over) return;
      if (error) this.#of.fail(error);
      else this.#confirm(rule);
    });
  }

  /** What was so when the record was written has to be so still (promise 7). */
  #confirm(rule: Rule): void {
    const { supply } = this;
    if (this.lostItsRight()) return void this.#decideAgain();
    if (supply.upstream?.socket.destroyed) supply.takeIdle(rule);
    const { upstream, lease } = supply;
    if (!upstream) return void this.#reconnect(rule);
    if (!upstream.isSettled) return this.#settle(rule);
    if (!lease) return this.#of.fail(asSallyportError(new Error('prepared without a lease')));
    this.#forwardedAt = performance.now();
    this.#of.forward(rule, lease, upstream);
  }

  /** Waits for the previous request's write to be reported done; in doubt, takes a new connection. */
  #settle(rule: Rule): void {
    if (++this.#unsettled > SETTLE_TURNS) this.supply.drop();
    setImmediate(() => {
      if (!this.#over) this.#confirm(rule);
    });
  }

  async #reconnect(rule: Rule): Promise<void> {
    try {
      await this.supply.reconnect(rule);
      if (!this.#over) this.#confirm(rule);
    } catch (error) {
      if (!this.#over) this.#of.fail(asSallyportError(error));
    }
  }
}
