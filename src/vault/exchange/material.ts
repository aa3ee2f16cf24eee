import { hash } from 'node:crypto';
import type { Exchange } from '../../catalog/exchange.ts';
import { publicField } from '../../catalog/pin.ts';
import type { Service } from '../../catalog/service.ts';
import type { Value } from '../../channel/messages/exchanger.ts';
import { SallyportError } from '../../errors.ts';
import { referencedKey } from '../credentials/key-reference.ts';
import type { SecretValue } from '../credentials/values.ts';
import type { NamedSecret } from './exchangers.ts';
import { type SigningKey, signJwt } from './jwt.ts';
import { pemKey, readServiceAccount, unescapedPem } from './private-key.ts';

/** What an exchange is made from: the service, and one credential of it, opened. */
export interface Material {
  readonly service: Service;
  readonly publicFields: Readonly<Record<string, string>>;
  /** Views that live as long as the lease. */
  readonly secrets: readonly SecretValue[];
  /** The credential's id, and how its key signs that is in the HSM. */
  readonly credential: string;
  sign(label: string, message: Buffer): Promise<Buffer>;
  /** The public half of that key, SPKI in DER. */
  publicKey(label: string): Promise<Buffer>;
}

/** Who signs, and what the key itself says of its owner. */
interface Signer {
  readonly key: SigningKey;
  readonly keyId: string | undefined;
  readonly owner: string | undefined;
}

export const ALGORITHM = {
  'jwt-bearer': 'RS256',
  installation: 'RS256',
  'per-request': 'ES256',
  'key-pair-jwt': 'RS256',
  'client-certificate': 'ES256',
} as const;
export const FINGERPRINT = 'public_key_fingerprint';

/** The public field of the first of these names that the credential has. */
export function firstPublic({ publicFields }: Material, ...names: readonly string[]): string | undefined {
  return names.map((name) => publicField(publicFields, name)).find((value) => value !== undefined);
}

/** A field, secret or not, as a request names it. Throws exchange_refused where the credential has none. */
export function fieldValue(material: Material, name: string): Value {
  if (material.secrets.some((secret) => secret.name === name)) return { part: name };
  const text = firstPublic(material, name);
  if (text === undefined) throw missing(material, name);
  return { text };
}

export function secretNamed(material: Material, name: string): NamedSecret {
  const secret = material.secrets.find((each) => each.name === name);
  if (!secret) throw missing(material, name);
  return secret;
}

/** The label of the key in the HSM, if it is there. Throws exchange_refused where it is another credential's. */
export function ownKey(material: Material, { key }: Extract<Exchange, { key: string }>): string | undefined {
  const label = referencedKey(secretNamed(material, key).value);
  if (label?.startsWith(`${material.credential}-`) === false) throw missing(material, 'key of its own');
  return label;
}

/**
 * How the service knows the key: SHA-256 of its public half, as Snowflake writes it. Of a key that is not in the HSM the owner says it:
 * to work it out here would leave copies of the key. Throws exchange_refused, hsm_unavailable.
 */
export async function fingerprintOf(
  material: Material,
  exchange: Extract<Exchange, { key: string }>,
): Promise<string> {
  const label = ownKey(material, exchange);
  const said = firstPublic(material, FINGERPRINT);
  if (label === undefined && said === undefined) throw missing(material, FINGERPRINT);
  return label === undefined
    ? `SHA256:${said?.replace(/^SHA256:/, '')}`
    : `SHA256:${hash('sha256', await material.publicKey(label), 'base64')}`;
}

/** Lends the key of `exchange` to `use`. Throws exchange_refused where the field holds none. */
async function withSigner<T>(
  material: Material,
  exchange: Extract<Exchange, { key: string }>,
  use: (signer: Signer) => Promise<T>,
): Promise<T> {
  const { value } = secretNamed(material, exchange.key);
  const algorithm = ALGORITHM[exchange.kind];
  const label = ownKey(material, exchange);
  if (label !== undefined) {
    const key = { algorithm, sign: (input: Buffer) => material.sign(label, input) } as const;
    return use({ key, keyId: firstPublic(material, 'key_id', 'key_name'), owner: undefined });
  }
  const account = exchange.key === 'key_json' ? readServiceAccount(value) : undefined;
  const pem = unescapedPem(account?.pem ?? value);
  try {
    return await use({
      key: pemKey(pem, algorithm),
      keyId: account?.keyId || firstPublic(material, 'key_id', 'key_name'),
      owner: account?.email,
    });
  } finally {
    pem.fill(0);
    account?.pem.fill(0);
  }
}

/** Signs a JWT whose claims `claimsFor` makes of the key's owner. The caller wipes it. */
export function signedBy(
  material: Material,
  exchange: Extract<Exchange, { key: string }>,
  claimsFor: (owner: string | undefined) => Readonly<Record<string, unknown>>,
  header: Readonly<Record<string, string>> = {},
): Promise<Buffer> {
  return withSigner(material, exchange, ({ key, keyId, owner }) =>
    signJwt({ ...(keyId === undefined ? {} : { kid: keyId }), ...header }, claimsFor(owner), key),
  );
}

export function missing({ service }: Material, name: string): SallyportError {
  return new SallyportError(
    'exchange_refused',
    `The credential of ${service.id} has no ${name}, which its token is made of: ask the owner to set it again.`,
  );
}
