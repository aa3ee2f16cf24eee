/** Says on standard error what goes wrong by the clock: that goes wrong often, and the same line is not repeated. */
export class Complaints {
  #last = '';

  report(error: unknown): void {
    const line = error instanceof Error ? error.message : String(error);
    if (line === this.#last) return;
    this.#last = line;
    process.stderr.write(`sallyport: ${line}\n`);
  }

  /** Reports where `work` fails. */
  attempt(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.report(error));
  }
}
