import { randomBytes } from 'node:crypto';
import type { Exchange } from '../../catalog/exchange.ts';
import { firstPublic, type Material, signedBy } from './material.ts';

const LIFETIME_S = 120;

/** What a request of an agent is, for a token that is made for it alone. */
export interface AgentRequest {
  readonly method: string;
  /** Without port. */
  readonly host: string;
  /** Without query. */
  readonly path: string;
}

/** A JWT for one request of an agent (Coinbase's CDP keys), which the caller wipes. Throws exchange_refused, hsm_unavailable. */
export function requestJwt(
  exchange: Extract<Exchange, { kind: 'per-request' }>,
  material: Material,
  { method, host, path }: AgentRequest,
  now: number,
): Promise<Buffer> {
  const seconds = Math.floor(now / 1_000);
  const claims = {
    iss: 'cdp',
    sub: firstPublic(material, 'key_name'),
    nbf: seconds,
    exp: seconds + LIFETIME_S,
    uri: `${method} ${host}${path}`,
  };
  return signedBy(material, exchange, () => claims, { nonce: randomBytes(16).toString('hex') });
}
