import { SallyportError } from '../../errors.ts';
import { problemResponse } from '../problem.ts';
import type { Way } from './approach.ts';

/** More than any ClientHello that is read has, its records' headers included. */
const MAX_BYTES = 20 * 1024;
const HANDSHAKE = 22;
const NOTHING = Buffer.alloc(0);
/** A fatal alert "access_denied" (RFC 8446, 6): what a TLS client can be told instead of a bare close. */
const ACCESS_DENIED = Buffer.from([21, 3, 3, 0, 2, 2, 49]);

/** What an agent sends once it has been told that it is connected, where that decides what it is connected to. */
export class FirstBytes implements Way {
  readonly #enough: (bytes: Buffer) => boolean;
  readonly #take: (bytes: Buffer) => void;
  readonly #fail: (error: Error) => void;
  #seen: Buffer = NOTHING;

  /** `take` gets the bytes once they are `enough`; `fail` is told where they never are. */
  constructor(
    enough: (bytes: Buffer) => boolean,
    take: (bytes: Buffer) => void,
    fail: (error: Error) => void,
  ) {
    this.#enough = enough;
    this.#take = take;
    this.#fail = fail;
  }

  read(chunk: Buffer): void {
    this.#seen = this.#seen.length === 0 ? chunk : Buffer.concat([this.#seen, chunk]);
    if (this.#enough(this.#seen)) return this.#take(this.#seen);
    if (this.#seen.length <= MAX_BYTES) return;
    throw new SallyportError('bad_request', 'The connection begins with a TLS handshake that has no end.');
  }

  refusal(error: SallyportError): Buffer {
    if (this.#seen[0] === HANDSHAKE) return ACCESS_DENIED;
    // Whoever speaks without TLS speaks HTTP, if anything; whoever is silent is owed no answer.
    if (this.#seen.length === 0) return NOTHING;
    return problemResponse(error, { close: true, bodiless: false, reason: false });
  }

  gone(): void {
    this.#fail(new SallyportError('client_closed', 'The agent left before it said what it wants.'));
  }
}
