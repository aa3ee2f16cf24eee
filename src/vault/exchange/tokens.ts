import type { Exchange } from '../../catalog/exchange.ts';
import type { Service } from '../../catalog/service.ts';
import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import { readFields, readNames } from '../../store/columns.ts';
import type { CredentialsTable, CredentialVersionsTable, ServicesTable } from '../../store/schema.ts';
import type { Ledger } from '../audit/ledger.ts';
import type { Changes } from '../changes.ts';
import { credentialBinding } from '../credentials/binding.ts';
import { type Envelope, openEnvelope, sealEnvelope } from '../credentials/envelope.ts';
import { openVersion } from '../credentials/versions.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Exchanger, Exchangers, TokenAnswer } from './exchangers.ts';
import type { Material } from './material.ts';
import { storeRefreshToken } from './refresh-token.ts';
import { type AgentRequest, type Prepared, prepare, refusal, requestJwt } from './requests.ts';

/** A credential version with all that stands behind it. */
export interface Subject {
  readonly definition: Service;
  readonly service: ServicesTable;
  readonly credential: CredentialsTable;
  readonly version: CredentialVersionsTable;
  readonly exchange: Exchange;
}

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
  readonly exchangers: Exchangers;
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

  constructor(parts: TokensParts) {
    this.#parts = parts;
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
    if (refused && kept && Date.now() >= kept.doubtedAt) kept = undefined;
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
    const { exchange } = subject;
    if (exchange.kind !== 'per-request') throw new TypeError('the service takes no token of this kind');
    const value = await this.#opened(subject, (material) =>
      requestJwt(exchange, material, request, Date.now()),
    );
    return { value, maxAgeMs: 1 };
  }

  /** Forgets the tokens of credential versions that are not among `current`: `credential/version`. */
  keepOnly(current: ReadonlySet<string>): void {
    for (const map of [this.#kept, this.#failures]) {
      for (const key of [...map.keys()]) if (!current.has(key)) map.delete(key);
    }
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
      const answer = await this.#exchange(subject);
      try {
        await this.#keep(key, binding, subject, answer);
      } finally {
        answer.token.fill(0);
        answer.refreshToken?.fill(0);
      }
      this.#failures.delete(key);
    } catch (cause) {
      const error = named(service.id, cause);
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
    { token, refreshToken, lifetimeMs }: Extract<TokenAnswer, { outcome: 'token' }>,
  ): Promise<void> {
    const { changes, keyholder } = this.#parts;
    const madeAt = Date.now();
    if (refreshToken && exchange.kind === 'grant' && exchange.grant === 'refresh_token') {
      const of = { credential: credential.id, version: version.version };
      await storeRefreshToken(changes, keyholder, of, refreshToken);
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

  /** Asks the token endpoint, in each of the ways to authenticate that there are until one is taken. */
  async #exchange(subject: Subject): Promise<Extract<TokenAnswer, { outcome: 'token' }>> {
    const { exchange, service } = subject;
    if (exchange.kind === 'per-request') throw new TypeError('there is no token endpoint');
    for (let attempt = 0; ; attempt++) {
      const answer = await this.#parts.exchangers.run((exchanger) =>
        this.#ask(exchanger, subject, (material) => prepare(exchange, material, attempt, Date.now())),
      );
      if (answer.outcome === 'token') return answer;
      const another = exchange.kind === 'grant' && attempt + 1 < exchange.client.length;
      if (!another || answer.error !== 'invalid_client') throw refusal(service.id, exchange.kind, answer);
    }
  }

  /** The credential is open only until the request has been handed over. */
  async #ask(
    exchanger: Exchanger,
    subject: Subject,
    compose: (material: Material) => Promise<Prepared | undefined>,
  ): Promise<TokenAnswer> {
    const { answer } = await this.#opened(subject, async (material) => {
      const prepared = await compose(material);
      if (!prepared) throw new TypeError('the exchange has no further way to authenticate');
      try {
        const asked = exchanger.ask(prepared.request, prepared.secrets);
        asked.catch(() => {}); // whoever awaits the answer has the error
        return { answer: asked };
      } finally {
        prepared.wipe();
      }
    });
    return answer;
  }

  /** Lends the opened credential to `use`, and wipes it. */
  async #opened<T>(
    { definition, service, credential, version }: Subject,
    use: (material: Material) => Promise<T>,
  ): Promise<T> {
    const plaintext = await openVersion(this.#parts.keyholder, service, credential, version);
    try {
      const publicFields = readFields(credential.public_fields);
      return await use({
        service: definition,
        publicFields,
        secrets: decodeFields(plaintext),
        credential: credential.id,
        sign: (label, message) => this.#parts.keyholder.signWithCredentialKey(label, message),
      });
    } finally {
      plaintext.fill(0);
    }
  }
}

/** What is wrong for now, with the service that it is about. */
function named(service: string, cause: unknown): unknown {
  if (!(cause instanceof SallyportError) || cause.code !== 'exchange_failed') return cause;
  const message = `${service} cannot be used now: no token for it could be had, so nothing was sent. ${cause.message} Try again shortly, then tell the owner.`;
  return new SallyportError('exchange_failed', message, { cause });
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
