import { setTimeout as delay } from 'node:timers/promises';
import type { Head } from '../../audit/chain.ts';
import type { Ledger } from '../audit/ledger.ts';

/** A worker reports every 100 ms; a captured one could report without pause, and fill the disk. */
const WRITE_EVERY_MS = 20;
const HASH = /^[0-9a-f]{64}$/;

/** Writes down the newest link of one worker's journal, and raises an alarm where it cannot be that journal's. */
export class JournalHeads {
  readonly #ledger: Ledger;
  readonly #worker: string;
  readonly #file: string;
  #newest: Head = { link: -1, hash: '' };
  #writing = false;
  #alarmed = false;

  constructor(ledger: Ledger, worker: string, file: string) {
    this.#ledger = ledger;
    this.#worker = worker;
    this.#file = file;
  }

  /** Resolves once this head or a newer one is in the vault's journal, or is about to be. */
  async take({ file, link, hash }: Head & { file: string }): Promise<void> {
    const rewritten = link === this.#newest.link && hash !== this.#newest.hash;
    const whole = file === this.#file && HASH.test(hash);
    if (!whole || link < this.#newest.link || rewritten) return this.#alarm(file, link);
    this.#newest = { link, hash };
    if (this.#writing) return;
    this.#writing = true;
    await delay(WRITE_EVERY_MS);
    this.#writing = false;
    await this.#ledger.head(this.#file, this.#newest);
  }

  /** Once is enough: what it reports from then on proves nothing more. */
  async #alarm(file: string, link: number): Promise<void> {
    if (this.#alarmed) return;
    this.#alarmed = true;
    process.stderr.write(`sallyport: ${this.#worker} reported a head that its journal cannot have\n`);
    await this.#ledger.record('alarm', 'journal.head', this.#worker, {
      file,
      link,
      known: this.#newest.link,
    });
  }
}
