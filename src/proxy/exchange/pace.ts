import type { ServiceLimits } from '../../channel/messages/policy.ts';
import { SallyportError } from '../../errors.ts';
import type { Worker } from '../worker.ts';

/**
 * How long a request may take as a whole, and how long it may stand still once its answer has begun. Made for those
 * that last: who looks twice a second sees most requests never.
 */
export class Pace {
  readonly #worker: Worker;
  readonly #totalAt: number;
  readonly #idleMs: number;
  #bytes = -1;
  #movedAt = 0;

  /** `startedAt`: as of performance.now(). */
  constructor(worker: Worker, own: ServiceLimits, startedAt: number) {
    const { limits } = worker.settings;
    this.#worker = worker;
    this.#totalAt = startedAt + (own.totalTimeoutMs ?? limits.totalTimeoutMs ?? Number.POSITIVE_INFINITY);
    this.#idleMs = own.idleTimeoutMs ?? limits.answerIdleTimeoutMs;
  }

  /**
   * What ends it now, if anything: upstream_timeout. `bytes`: carried so far, both ways; `answering`: the agent has a
   * part of its answer, so that other limits hold no more.
   */
  check(now: number, bytes: number, answering: boolean): SallyportError | undefined {
    if (bytes !== this.#bytes || !answering) {
      this.#bytes = bytes;
      this.#movedAt = now;
    }
    if (now >= this.#totalAt) {
      this.#worker.metrics.limit('total_time');
      return timeout('The request took longer than is allowed here');
    }
    if (now - this.#movedAt <= this.#idleMs) return undefined;
    this.#worker.metrics.limit('answer_idle');
    return timeout('Nothing was sent either way for longer than is allowed here');
  }
}

function timeout(what: string): SallyportError {
  const then = 'the key is healthy; try again, or ask the owner to raise the limit of this service.';
  return new SallyportError('upstream_timeout', `${what}, so it was ended; ${then}`);
}
