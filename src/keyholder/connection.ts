import type { KeyholderHealth } from '../channel/messages/keyholder.ts';
import { SallyportError } from '../errors.ts';
import { describe, meaning, returnValue } from './cryptoki.ts';
import { wrap } from './operations.ts';
import type { Token } from './token.ts';

const FIRST_PAUSE_MS = 100;
/** With the second after which the vault asks again, and a login, a token that is back is in use within five. */
const LONGEST_PAUSE_MS = 3000;

/**
 * Keeps one token open. Where the session, the login, the objects or the device are lost, it opens all of it again and
 * tries the operation once more. Where that fails it fails fast for a while, longer each time. A wrong PIN is final:
 * it is never tried twice.
 */
export class Connection {
  readonly #open: () => Token;
  readonly #shared: boolean;
  #token: Token | undefined;
  #wasOpen = false;
  #failure: SallyportError | undefined;
  #pause = FIRST_PAUSE_MS;
  #notBefore = 0;
  #since = new Date();
  #opened = 0;
  #lost = 0;
  #refusedAtOnce = 0;

  /**
   * `open` gives a token with its keys, proven; throws as openToken and proveKeys do. `shared`: other keyholders use the
   * token too. It is then opened only where `use` is told that it may: whoever asks them has them log in one by one, since
   * a wrong PIN is counted by the token, whoever tries it.
   */
  constructor(open: () => Token, shared = false) {
    this.#open = open;
    this.#shared = shared;
  }

  /** Opens the token now, unless it is shared; what keeps it from that is what `use` throws. */
  start(): void {
    if (this.#shared) return;
    try {
      this.#reopen();
    } catch (error) {
      if (error !== this.#failure) throw error;
    }
  }

  /**
   * Runs `operation` on the open token; it may run twice, also where the device is well (SoftHSM fails a call now and
   * then while another process writes to its token). Throws hsm_unavailable, hsm_refused, hsm_mechanism_missing,
   * the operation's own SallyportError, or, where the token was never open, what kept it from that.
   */
  use<T>(operation: (token: Token) => T, mayOpen = !this.#shared): T {
    for (let attempt = 1; ; attempt++) {
      if (!this.#token && !mayOpen) throw this.#failure ?? waiting();
      const token = this.#token ?? this.#reopen();
      try {
        const result = operation(token);
        this.#pause = FIRST_PAUSE_MS;
        return result;
      } catch (error) {
        const name = returnValue(error);
        if (name === undefined) throw error;
        const what = meaning(name);
        if (what === 'refused' || what === 'unsupported') throw describe(error);
        if (what === 'unclear' && this.#healthy(token)) {
          if (attempt > 1) throw describe(error, 'refused');
          continue;
        }
        this.#lost++;
        this.close();
        if (!mayOpen) throw this.#noted(error);
        if (attempt > 1) throw this.#failed(error);
      }
    }
  }

  close(): void {
    this.#token?.close();
    this.#token = undefined;
  }

  /** How it stands with the token, without asking it. */
  health(): Omit<KeyholderHealth, 'verbs'> {
    const left = this.#notBefore - Date.now();
    return {
      state: this.#failure === undefined ? 'ok' : left === Number.POSITIVE_INFINITY ? 'stopped' : 'failing',
      since: this.#since.toISOString(),
      opened: this.#opened,
      lost: this.#lost,
      refusedAtOnce: this.#refusedAtOnce,
      error: this.#failure?.message ?? null,
      retryInMs: this.#failure && Number.isFinite(left) ? Math.max(0, left) : null,
    };
  }

  #reopen(): Token {
    if (this.#failure && Date.now() < this.#notBefore) {
      this.#refusedAtOnce++;
      throw this.#failure;
    }
    try {
      this.#token = this.#open();
      this.#wasOpen = true;
      this.#opened++;
      if (this.#failure) this.#since = new Date();
      this.#failure = undefined;
      return this.#token;
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /** Notes why the token cannot be used and until when that is taken for granted, and gives the error to throw. */
  #failed(cause: unknown): SallyportError {
    const failure = this.#noted(cause);
    const final = failure.code === 'hsm_pin_wrong' || failure.code === 'hsm_module_missing';
    this.#notBefore = final ? Number.POSITIVE_INFINITY : Date.now() + this.#pause;
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
    return failure;
  }

  /** Notes why the token cannot be used; it may be tried again at once. */
  #noted(cause: unknown): SallyportError {
    const error = describe(cause, 'gone');
    if (!this.#failure) this.#since = new Date();
    this.#notBefore = 0;
    this.#failure =
      error instanceof SallyportError
        ? this.#asMet(error)
        : new SallyportError('hsm_unavailable', 'The HSM failed in a way that PKCS#11 does not know.', {
            cause,
          });
    return this.#failure;
  }

  /** A token that was there and is not, or is back without its keys, has failed; it was not misconfigured. */
  #asMet(error: SallyportError): SallyportError {
    if (!this.#wasOpen || error.code.startsWith('hsm_pin_')) return error;
    return new SallyportError('hsm_unavailable', `The HSM is lost. ${error.message}`, { cause: error });
  }

  /** Tells a refusal from a dead device, where the module gives both the same answer: one wrap of nothing. */
  #healthy(token: Token): boolean {
    try {
      wrap(token, Buffer.alloc(32), Buffer.alloc(0));
      return true;
    } catch {
      return false;
    }
  }
}

function waiting(): SallyportError {
  return new SallyportError(
    'hsm_unavailable',
    'The HSM is lost, and opened again when it is this one’s turn.',
  );
}
