import type { AskingExchange, Exchange } from '../../catalog/exchange.ts';
import type { Service } from '../../catalog/service.ts';
import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import { readFields } from '../../store/columns.ts';
import type { CredentialsTable, CredentialVersionsTable, ServicesTable } from '../../store/schema.ts';
import { openVersion } from '../credentials/versions.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Policy } from '../policy/policy.ts';
import { clientCertificate } from './client-certificate.ts';
import type { Exchanger, Exchangers, TokenAnswer } from './exchangers.ts';
import { keyPairJwt } from './key-pair-jwt.ts';
import type { Material } from './material.ts';
import { refusal } from './refusal.ts';
import { type AgentRequest, requestJwt } from './request-jwt.ts';
import { prepare } from './requests.ts';

/** A credential version with all that stands behind it. */
export interface Subject {
  readonly definition: Service;
  readonly service: ServicesTable;
  readonly credential: CredentialsTable;
  readonly version: CredentialVersionsTable;
  readonly exchange: Exchange;
}

export type TokenGiven = Extract<TokenAnswer, { outcome: 'token' }>;

/** Opens credentials for as long as it takes to make of them what is asked for. */
export class Asking {
  readonly #policy: Policy;
  readonly #keyholder: KeyholderClient;
  readonly #exchangers: Exchangers;

  constructor(policy: Policy, keyholder: KeyholderClient, exchangers: Exchangers) {
    this.#policy = policy;
    this.#keyholder = keyholder;
    this.#exchangers = exchangers;
  }

  /**
   * The token: made here, or asked for at the token endpoint, in each of the ways to authenticate that there are until
   * one is taken. Throws
   * exchange_failed, exchange_refused, credential_missing, hsm_unavailable.
   */
  async token(subject: Subject): Promise<TokenGiven> {
    const { exchange, service } = subject;
    if (exchange.kind === 'key-pair-jwt') {
      return this.#opened(subject, (material) => keyPairJwt(exchange, material, Date.now()));
    }
    if (exchange.kind === 'client-certificate') {
      return this.#opened(subject, (material) => clientCertificate(exchange, material, Date.now()));
    }
    if (exchange.kind === 'per-request') throw new TypeError('it is made for each request');
    for (let attempt = 0; ; attempt++) {
      const answer = await this.#exchangers.run((exchanger) =>
        this.#ask(exchanger, exchange, subject, attempt),
      );
      if (answer.outcome === 'token') return answer;
      const another = exchange.kind === 'grant' && attempt + 1 < exchange.client.length;
      if (!another || answer.error !== 'invalid_client') throw refusal(service.id, exchange.kind, answer);
    }
  }

  /** A JWT for one request of an agent, which the caller wipes. Throws as `token`. */
  requestJwt(subject: Subject, request: AgentRequest): Promise<Buffer> {
    const { exchange } = subject;
    if (exchange.kind !== 'per-request') throw new TypeError('the service takes no token of this kind');
    return this.#opened(subject, (material) => requestJwt(exchange, material, request, Date.now()));
  }

  /** The credential is open only until the request has been handed over. */
  async #ask(
    exchanger: Exchanger,
    exchange: AskingExchange,
    subject: Subject,
    attempt: number,
  ): Promise<TokenAnswer> {
    const { answer } = await this.#opened(subject, async (material) => {
      const prepared = await prepare(exchange, material, attempt, Date.now());
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
  async #opened<T>(subject: Subject, use: (material: Material) => Promise<T>): Promise<T> {
    const { definition, service, credential } = subject;
    const version = this.#newest(subject);
    const plaintext = await openVersion(this.#keyholder, service, credential, version);
    try {
      return await use({
        service: definition,
        publicFields: readFields(credential.public_fields),
        secrets: decodeFields(plaintext),
        credential: credential.id,
        sign: (label, message) => this.#keyholder.signWithCredentialKey(label, message),
        publicKey: (label) => this.#keyholder.credentialPublicKey(label),
      });
    } finally {
      plaintext.fill(0);
    }
  }

  /**
   * The row as it is now: it may hold another refresh token since the exchange was asked for, and to show an old one
   * again has servers revoke them all. Throws credential_missing where it is another credential by now.
   */
  #newest({ service, credential, version }: Subject): CredentialVersionsTable {
    const { state } = this.#policy;
    const row = state.version(credential.id, version.version);
    if (row && state.service(service.id) === service && state.credential(credential.id) === credential)
      return row;
    const message =
      'The credential was replaced or removed before its token was made: nothing of it is used.';
    throw new SallyportError('credential_missing', message);
  }
}
