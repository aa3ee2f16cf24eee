import type { KeyholderHealth } from '../channel/messages/keyholder.ts';

interface Tally {
  asked: number;
  failed: number;
  microseconds: number;
  longest: number;
}

/** How often each verb is asked, and how long it takes. */
export class Meter {
  readonly #tallies = new Map<string, Tally>();

  /** Runs `work` and takes its time. Throws what it throws. */
  measure<T>(verb: string, work: () => T): T {
    const started = performance.now();
    let failed = true;
    try {
      const result = work();
      failed = false;
      return result;
    } finally {
      this.#note(verb, failed, (performance.now() - started) * 1000);
    }
  }

  read(): KeyholderHealth['verbs'] {
    return Object.fromEntries(
      [...this.#tallies].map(([verb, { asked, failed, microseconds, longest }]) => [
        verb,
        {
          asked,
          failed,
          meanMicroseconds: Math.round(microseconds / asked),
          longestMicroseconds: Math.round(longest),
        },
      ]),
    );
  }

  #note(verb: string, failed: boolean, microseconds: number): void {
    const tally = this.#tallies.get(verb) ?? { asked: 0, failed: 0, microseconds: 0, longest: 0 };
    tally.asked++;
    if (failed) tally.failed++;
    tally.microseconds += microseconds;
    tally.longest = Math.max(tally.longest, microseconds);
    this.#tallies.set(verb, tally);
  }
}
