import { MAX_REWRAPPED } from '../../channel/messages/keyholder.ts';
import { SallyportError } from '../../errors.ts';
import type { PolicyRow } from '../../store/schema.ts';
import { rowKey } from '../integrity/verify.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Wrapping } from './wrapping.ts';

/** How long one call should occupy the keyholder, which releases wait for. */
const CALL_MS = 50;
const FIRST_CALL = 8;

/** A row as it will be, with its DEK wrapped anew, and what it was. */
export interface Rewrapped {
  readonly wrapping: Wrapping;
  readonly entry: PolicyRow;
}

interface Bound {
  readonly wrapping: Wrapping;
  readonly wrapped: Buffer;
  readonly aad: Buffer;
}

/** Has DEKs rewrapped, many to a call: as many as the HSM does in a moment, whatever HSM it is. */
export class Rewrapper {
  readonly #keyholder: KeyholderClient;
  #atOnce = FIRST_CALL;

  constructor(keyholder: KeyholderClient) {
    this.#keyholder = keyholder;
  }

  /**
   * The rows with their DEKs wrapped with the KEK `to`. What they are bound to is read before this returns, from the
   * policy as it is then. Throws hsm_unavailable; hsm_refused, naming the row, where one does not open.
   */
  async rewrap(wrappings: readonly Wrapping[], to: string): Promise<Rewrapped[]> {
    const bound = wrappings.map((wrapping) => ({ wrapping, wrapped: wrapping.dek, aad: wrapping.binding() }));
    const rows: Rewrapped[] = [];
    for (const [from, of] of Map.groupBy(bound, ({ wrapping }) => wrapping.kek)) {
      for (let at = 0; at < of.length; ) {
        const some = of.slice(at, at + this.#atOnce);
        const began = performance.now();
        rows.push(...(await this.#call(from, to, some)));
        at += some.length;
        this.#learn(some.length, performance.now() - began);
      }
    }
    return rows;
  }

  async #call(from: string, to: string, some: readonly Bound[]): Promise<Rewrapped[]> {
    try {
      const rewrapped = await this.#keyholder.rewrap(from, to, some);
      return some.map(({ wrapping }, index) => ({
        wrapping,
        entry: wrapping.with(rewrapped[index] ?? Buffer.alloc(0), to),
      }));
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'hsm_refused') throw error;
      const [one, ...more] = some;
      if (one && more.length === 0) throw refused(one.wrapping, error);
      const rows: Rewrapped[] = [];
      for (const each of some) rows.push(...(await this.#call(from, to, [each])));
      return rows;
    }
  }

  #learn(count: number, tookMs: number): void {
    const fitting = Math.floor((count * CALL_MS) / Math.max(tookMs, 0.1));
    this.#atOnce = Math.max(1, Math.min(fitting, 2 * this.#atOnce, MAX_REWRAPPED));
  }
}

function refused(wrapping: Wrapping, cause: SallyportError): SallyportError {
  const message = `The data key of ${rowKey(wrapping.entry)} does not open under ${wrapping.kek}: set that credential anew, then rotate again. ${cause.message}`;
  return new SallyportError('hsm_refused', message, { cause });
}
