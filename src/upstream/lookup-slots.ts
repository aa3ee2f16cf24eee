import { SallyportError } from '../errors.ts';

/** Names that one agent may have waiting; beyond it the agent floods. */
const MAX_WAITING = 1024;

interface Slots {
  running: number;
  readonly waiting: (() => void)[];
}

/**
 * Bounds the lookups that run at once for each agent, so that slow names of one do not stall those of another. What
 * exceeds the bound waits its turn behind that agent's own lookups.
 */
export class LookupSlots {
  readonly #perAgent: number;
  readonly #agents = new Map<string, Slots>();

  constructor(perAgent: number) {
    this.#perAgent = perAgent;
  }

  /**
   * Runs `lookup` in a slot of the agent, which is held until it has settled. Where `isWanted` is false by the time
   * its turn comes, it is not run and the promise rejects. Throws `rate_limited` where too many wait already.
   */
  async run<T>(agent: string, isWanted: () => boolean, lookup: () => Promise<T>): Promise<T> {
    const slots = this.#agents.get(agent) ?? { running: 0, waiting: [] };
    this.#agents.set(agent, slots);
    if (slots.running >= this.#perAgent) {
      if (slots.waiting.length >= MAX_WAITING) {
        throw new SallyportError(
          'rate_limited',
          'Too many names are being resolved at once; try again later.',
        );
      }
      await new Promise<void>((resolve) => slots.waiting.push(resolve)); // the slot is handed over, still counted
    } else {
      slots.running++;
    }
    try {
      if (!isWanted()) {
        throw new SallyportError('upstream_unresolved', 'The name was not resolved before its time was up.');
      }
      return await lookup();
    } finally {
      const next = slots.waiting.shift();
      if (next) next();
      else if (--slots.running === 0) this.#agents.delete(agent);
    }
  }
}
