import type { Changes } from '../changes.ts';
import type { Complaints } from '../complaints.ts';
import type { IntegrityGuard } from '../integrity/guard.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Policy } from './policy.ts';

const LOAD_AGAIN_MS = 2_000;

interface LoadingParts {
  readonly policy: Policy;
  readonly changes: Changes;
  readonly keyholder: KeyholderClient;
  readonly guard: IntegrityGuard;
  readonly complaints: Complaints;
  /** Called once the policy can be served; resolves once it is. */
  loaded(): Promise<void>;
  /** Called after that, where nothing is wrong with it, before anything can change. */
  inTurn(): Promise<void>;
  /** Called after that, where nothing is wrong with it. */
  sound(): Promise<void>;
}

/** Reads the policy as soon as there is an HSM to authenticate it, and looks after it from then on. */
export class Loading {
  readonly #parts: LoadingParts;
  readonly #done = Promise.withResolvers<void>();
  #last = 0;

  constructor(parts: LoadingParts) {
    this.#parts = parts;
  }

  /** Resolves once the policy is served. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  /** Authenticates the policy, once; later keyholders only find an anchor that is behind. */
  load(): void {
    const { policy, changes, guard, complaints, loaded, inTurn, sound } = this.#parts;
    this.#last = Date.now();
    const work = changes.exclusive(async () => {
      if (policy.loaded) return policy.anchor();
      await policy.load();
      await loaded();
      this.#done.resolve();
      await (policy.failures.length > 0 ? guard.alarm() : inTurn());
    });
    complaints.attempt(
      work.then(async () => {
        if (policy.failures.length === 0) await sound();
      }),
    );
  }

  /** By the clock: looks whether somebody else has written to the store, and refuses everything where they have. */
  watch(): void {
    const { policy, changes, keyholder, guard, complaints } = this.#parts;
    if (!policy.loaded) {
      if (keyholder.info && Date.now() - this.#last > LOAD_AGAIN_MS) this.load();
      return;
    }
    if (!changes.idle) return; // every change looks for itself
    complaints.attempt(changes.exclusive(() => guard.recheck()));
  }
}
