import { SallyportError } from '../../errors.ts';

/** More at once than a machine has commands running. */
const MAX_SESSIONS = 1_000;

/** Tokens that live as long as a connection (`sallyport run`): in memory only, as SHA-256, gone with the vault. */
export class Sessions {
  readonly #tokens = new Map<string, Set<Buffer>>();
  #count = 0;

  /** Hashes that count as the agent's token besides its own. */
  of(agent: string): Iterable<Buffer> {
    return this.#tokens.get(agent) ?? [];
  }

  /** Throws rate_limited where there are too many. `tokenHash` is the handle for `remove`. */
  add(agent: string, tokenHash: Buffer): void {
    if (this.#count >= MAX_SESSIONS) {
      throw new SallyportError(
        'rate_limited',
        `More than ${MAX_SESSIONS} runs are open: let some of them end first.`,
      );
    }
    const tokens = this.#tokens.get(agent) ?? new Set();
    this.#tokens.set(agent, tokens.add(tokenHash));
    this.#count += 1;
  }

  remove(agent: string, tokenHash: Buffer): void {
    const tokens = this.#tokens.get(agent);
    if (!tokens?.delete(tokenHash)) return;
    this.#count -= 1;
    if (tokens.size === 0) this.#tokens.delete(agent);
  }
}
