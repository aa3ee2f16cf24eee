import type { Exchange } from '../../catalog/exchange.ts';
import type { TokenGiven } from './asking.ts';
import { fingerprintOf, firstPublic, type Material, missing, signedBy } from './material.ts';

/** From `iat` to `exp`: Snowflake takes no more. */
const LIFETIME_S = 3_600;
/** Clocks differ. */
const EARLIER_S = 60;

/**
 * A JWT that is itself the token: Snowflake's, by the key pair of a user (its SQL API, "Using key-pair authentication"). The caller
 * wipes it. Throws exchange_refused, hsm_unavailable.
 */
export async function keyPairJwt(
  exchange: Extract<Exchange, { kind: 'key-pair-jwt' }>,
  material: Material,
  now: number,
): Promise<TokenGiven> {
  const [account, user] = [firstPublic(material, 'account'), firstPublic(material, 'user')];
  if (account === undefined || user === undefined) throw missing(material, 'account and user');
  const fingerprint = await fingerprintOf(material, exchange);
  const subject = `${account.replaceAll('.', '-')}.${user}`.toUpperCase();
  const iat = Math.floor(now / 1_000) - EARLIER_S;
  const claims = { iss: `${subject}.${fingerprint}`, sub: subject, iat, exp: iat + LIFETIME_S };
  const token = await signedBy(material, exchange, () => claims);
  return {
    outcome: 'token',
    token,
    refreshToken: undefined,
    lifetimeMs: (LIFETIME_S - EARLIER_S) * 1_000,
  };
}
