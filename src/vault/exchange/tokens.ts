import { SallyportError } from '../../errors.ts';
import { readNames } from '../../store/columns.ts';
import type { Ledger } from '../audit/ledger.ts';
import type { Changes } from '../changes.ts';
import { credentialBinding } from '../credentials/binding.ts';
import { type Envelope, openEnvelope, sealEnvelope } from '../credentials/envelope.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Asking, Subject, TokenGiven } from './asking.ts';
import { RefreshTokens } from './refresh-token.ts';
import { passingFailure } from './refusal.ts';
import type { AgentRequest } from './request-jwt.ts';

/** A token for a worker, which the caller wipes, and how long it may use it. */
export interface ReleasedToken {
  readonly value: Buffer;
  readonly maxAgeMs: number;
}

interface Kept {
  /** What the token was made under: with another one it is not this token's credential any more. */
  readonly binding: Buffer;
  readonly envelope: Envelope;
  /** From then on a server that refuses it is taken at its word. */
  readonly doubtedAt: number;
  readonly renewAt: number;
  readonly unusableAt: number;
}

interface Failure {
  readonly binding: Buffer;
  readonly error: unknown;
  readonly until: number;
}

export interface TokensParts {
  readonly keyholder: KeyholderClient;
  readonly asking: Asking;
  readonly changes: Changes;
  readonly ledger: Ledger;
}

/** Where the server does not say. */
const DEFAULT_LIFETIME_MS = 300_000;
/** A token is made anew after this part of its life, while the old one still serves. */
const RENEWED_AFTER = 0.75;
/** An agent can have a server say 401 at will: a token is not made anew for that before. */
const DOUBTED_AFTER_MS = 60_000;
const DOUBTED_AFTER = 0.25;
/** It is not given out in its last moments: a request takes its time, and clocks differ. */
const MARGIN_MS = 30_000;
const MARGIN_OF_LIFE = 0.1;
/** How long a failure is answered without asking again: an agent must not be able to hammer a server through us. */
const REFUSED_MS = 30_000;
const FAILED_MS = 2_000;

/**
 * The tokens that are made of credentials. Each is kept sealed like a credential, in memory alone, made once for all
 * workers, and anew before it expires.
 */
export class AccessTokens {
  readonly #parts: TokensParts;
  readonly #kept = new Map<string, Kept>();
  readonly #making = new Map<string, Promise<void>>();
  readonly #failures = new Map<string, Failure>();
  readonly #refreshTokens: RefreshTokens;

  constructor(parts: TokensParts) {
    this.#parts = parts;
    this.#refreshTokens = new RefreshTokens(parts.changes, parts.keyholder);
  }

  /**
   * The token of that credential. `refused`: the server has refused the last one, which may have been taken back there.
   * Throws exchange_failed (for now), exchange_refused (until the owner does something),
   * credential_missing, hsm_unavailable, integrity_failed, journal_unavailable.
   */
  async release(subject: Subject, refused = false): Promise<ReleasedToken> {
    const key = keyOf(subject.credential.id, subject.version.version);
    const binding = tokenBinding(subject);
    let kept = this.#fresh(key, binding);
    if (refused && kept && Date.now() >= kept.doubtedAt) {
      await this.#make(key, binding, subject).catch(keptInstead);
      kept = this.#fresh(key, binding);
    }
    if (kept && Date.now() >= kept.renewAt) {
      // The one at hand still serves; what fails now is tried again, and told once it is needed.
      this.#make(key, binding, subject).catch(() => {});
    }
    const value = kept && (await this.#openKept(kept));
    if (kept && value) return released(value, kept);
    await this.#make(key, binding, subject);
    const made = this.#fresh(key, binding);
    if (!made) throw new SallyportError('exchange_failed', 'The token expired as it came: try again.');
    return released(await openEnvelope(this.#parts.keyholder, binding, made.envelope), made);
  }

  /** The kept token; undefined where the KEK that it was sealed under has been retired since. */
  async #openKept({ binding, envelope }: Kept): Promise<Buffer | undefined> {
    try {
      return await openEnvelope(this.#parts.keyholder, binding, envelope);
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'hsm_key_missing') return undefined;
      throw error;
    }
  }

  /** A token for one request alone. Throws as `release`. */
  async releaseFor(subject: Subject, request: AgentRequest): Promise<ReleasedToken> {
    return { value: await this.#parts.asking.requestJwt(subject, request), maxAgeMs: 1 };
  }

  /** Forgets the tokens of credential versions that are not among `current`: `credential/version`. */
  keepOnly(current: ReadonlySet<string>): void {
    for (const map of [this.#kept, this.#failures]) {
      for (const key of [...map.keys()]) if (!current.has(key)) map.delete(key);
    }
    this.#refreshTokens.keepOnly(current);
  }

  #fresh(key: string, binding: Buffer): Kept | undefined {
    const kept = this.#kept.get(key);
    return kept?.binding.equals(binding) && kept.unusableAt > Date.now() ? kept : undefined;
  }

  /** Makes the token; one at a time for each credential, for all who wait. */
  #make(key: string, binding: Buffer, subject: Subject): Promise<void> {
    const failure = this.#failures.get(key);
    if (failure && failure.until > Date.now() && failure.binding.equals(binding)) {
      return Promise.reject(failure.error);
    }
    const running = this.#making.get(key);
    if (running) return running;
    const making = this.#renew(key, binding, subject).finally(() => this.#making.delete(key));
    this.#making.set(key, making);
    return making;
  }

  async #renew(key: string, binding: Buffer, subject: Subject): Promise<void> {
    const { service, credential, version } = subject;
    const about = { service: service.id, version: version.version, kind: subject.exchange.kind };
    try {
      await this.#parts.ledger.record('release', 'exchange', credential.id, about);
      await this.#refreshTokens.storePending(key);
      const answer = await this.#parts.asking.token(subject);
      try {
        await this.#keep(key, binding, subject, answer);
      } finally {
        answer.token.fill(0);
        answer.refreshToken?.fill(0);
      }
      this.#failures.delete(key);
    } catch (cause) {
      const error = passingFailure(service.id, cause);
      const code = error instanceof SallyportError ? error.code : 'internal';
      const lastsMs = code === 'exchange_refused' ? REFUSED_MS : code === 'exchange_failed' ? FAILED_MS : 0;
      if (lastsMs > 0) this.#failures.set(key, { binding, error, until: Date.now() + lastsMs });
      const why = error instanceof Error ? error.message : String(error);
      await this.#parts.ledger.record('refusal', 'exchange', credential.id, { ...about, code, why });
      throw error;
    }
  }

  async #keep(
    key: string,
    binding: Buffer,
    { credential, version, exchange }: Subject,
    { token, refreshToken, lifetimeMs }: TokenGiven,
  ): Promise<void> {
    const { keyholder } = this.#parts;
    const madeAt = Date.now();
    if (refreshToken && exchange.kind === 'grant' && exchange.grant === 'refresh_token') {
      await this.#refreshTokens.store(
        key,
        { credential: credential.id, version: version.version },
        refreshToken,
      );
    }
    const envelope = await sealEnvelope(keyholder, binding, token);
    const life = lifetimeMs ?? DEFAULT_LIFETIME_MS;
    this.#kept.set(key, {
      binding,
      envelope,
      doubtedAt: madeAt + Math.min(DOUBTED_AFTER_MS, life * DOUBTED_AFTER),
      renewAt: madeAt + life * RENEWED_AFTER,
      unusableAt: madeAt + life - Math.min(MARGIN_MS, life * MARGIN_OF_LIFE),
    });
  }
}

/** A 401 may have had other reasons: while the token endpoint cannot be used, the old token is as good as it was. */
function keptInstead(error: unknown): void {
  if (!(error instanceof SallyportError) || error.code !== 'exchange_failed') throw error;
}

function released(value: Buffer, { unusableAt }: Kept): ReleasedToken {
  return { value, maxAgeMs: Math.max(1, unusableAt - Date.now()) };
}

/** Names the tokens of a credential version. */
export function keyOf(credential: string, version: number): string {
  return `${credential}/${version}`;
}

/** A token is bound to what its credential is bound to. */
function tokenBinding({ service, credential, version }: Subject): Buffer {
  const names = readNames(version.secret_fields);
  const own = credentialBinding(service, credential, version.version, names);
  return Buffer.concat([Buffer.from('sallyport token v1\0', 'latin1'), own]);
}
