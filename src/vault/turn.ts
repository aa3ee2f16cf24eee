/** Lets one thing be done at a time. */
export class Turn {
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  readonly #shared = new Map<object, Promise<void>>();

  get taken(): boolean {
    return this.#waiting > 0;
  }

  /** Runs `work` when everything taken before is over. Throws what it throws. */
  take<T>(work: () => Promise<T>): Promise<T> {
    this.#waiting += 1;
    const run = this.#tail.then(work).finally(() => {
      this.#waiting -= 1;
    });
    this.#tail = run.catch(() => {}); // the caller has the error; the next in line does not care
    return run;
  }

  /** Runs `work`, unless it runs for the same `of` already: then this waits for that. Throws what it throws. */
  shared(of: object, work: () => Promise<void>): Promise<void> {
    const running = this.#shared.get(of);
    if (running) return running;
    const run = work().finally(() => this.#shared.delete(of));
    this.#shared.set(of, run);
    return run;
  }
}
