import { createHash, createPublicKey, type webcrypto } from 'node:crypto';
import { SIGV4 } from '../../catalog/check.ts';
import { type Exchange, exchangeOf } from '../../catalog/exchange.ts';
import type { Service } from '../../catalog/service.ts';
import type { KeyType } from '../../channel/messages/keyholder.ts';
import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import type { CredentialsTable, CredentialVersionsTable } from '../../store/schema.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { PolicyState } from '../policy/state.ts';
import { clientRoot } from './client-root.ts';
import { referencedKey } from './key-reference.ts';
import { selfSigned } from './self-signed.ts';
import { openVersion } from './versions.ts';

/** The public half of a key, in the forms that services ask for. */
export interface PublicHalf {
  readonly type: string;
  /** PEM. */
  readonly publicKey: string;
  /** What it signs: tokens, or client certificates that it issues. */
  readonly signs: 'tokens' | 'certificates';
  /**
   * A certificate of its own signature, PEM: for services that take keys in one (Google); of an authority, where it issues
   * certificates.
   */
  readonly certificate: string;
  readonly jwk: webcrypto.JsonWebKey & { readonly kid: string };
  /** SHA-256 of the SPKI, base64. */
  readonly fingerprint: string;
}

/** The exchange that signs with a key, where the service's has one. */
export function signingExchange(service: Service): Extract<Exchange, { key: string }> | undefined {
  const exchange = exchangeOf(service);
  return exchange && 'key' in exchange ? exchange : undefined;
}

/** Whether a credential's secret can be put into the HSM: it keys the first HMAC of a signature, and nothing else. */
export function takesImport(service: Service): boolean {
  return service.auth.inject.some((inject) => inject.in === 'sign' && inject.algorithm === SIGV4);
}

function mayHaveKeys(service: Service): boolean {
  return takesImport(service) || signingExchange(service) !== undefined;
}

/** Which key the exchange takes: RSA unless it signs by ES256. Throws invalid_argument where `asked` is another kind. */
export function keyTypeFor(exchange: Exchange, asked: KeyType | undefined): KeyType {
  const elliptic = exchange.kind === 'per-request' || exchange.kind === 'client-certificate';
  const type = asked ?? (elliptic ? 'p-256' : 'rsa-2048');
  if ((type === 'p-256') === elliptic) return type;
  const takes = elliptic ? 'p-256' : 'rsa-2048 or rsa-3072';
  throw new SallyportError('invalid_argument', `The service takes no ${type} key: choose ${takes}.`);
}

/** Names the key of a credential's version. */
export function keyLabel(credential: string, version: number): string {
  return `${credential}-${version}`;
}

/** The public half of the key that `exchange` signs with. Throws hsm_unavailable, hsm_key_missing. */
export async function publicHalf(
  keyholder: KeyholderClient,
  label: string,
  exchange: Exchange,
): Promise<PublicHalf> {
  const spki = await keyholder.credentialPublicKey(label);
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  const rsa = key.asymmetricKeyType === 'rsa';
  const jwk = key.export({ format: 'jwk' });
  const issues = exchange.kind === 'client-certificate';
  const sign = (message: Buffer): Promise<Buffer> => keyholder.signWithCredentialKey(label, message);
  const certificate = issues
    ? await clientRoot(spki, label, sign)
    : await selfSigned(spki, rsa ? 'rsa' : 'ecdsa', label, sign);
  return {
    type: rsa ? `RSA-${key.asymmetricKeyDetails?.modulusLength}` : 'EC P-256',
    signs: issues ? 'certificates' : 'tokens',
    publicKey: key.export({ type: 'spki', format: 'pem' }),
    certificate,
    jwk: { ...jwk, use: 'sig', alg: rsa ? 'RS256' : 'ES256', kid: thumbprint(jwk) },
    fingerprint: createHash('sha256').update(spki).digest('base64'),
  };
}

/** The label of the key that a credential's current version refers to; undefined where it has a value of its own. */
export async function currentKey(
  keyholder: KeyholderClient,
  state: PolicyState,
  credential: CredentialsTable,
): Promise<string | undefined> {
  const [current] = state.heldVersions(credential);
  return current && keyOfVersion(keyholder, state, credential, current);
}

/**
 * Destroys the keys in the HSM that no version refers to any more: of the credentials `ids`, or of all. Only for a store
 * that is known to be the newest. Where a version cannot be asked, for want of its KEK, every key of that credential
 * stays. Throws hsm_unavailable.
 */
export async function destroyUnreferenced(
  keyholder: KeyholderClient,
  state: PolicyState,
  ids?: ReadonlySet<string>,
): Promise<void> {
  const labels = Map.groupBy(await keyholder.credentialKeyLabels(), (label) => label.replace(/-\d+$/, ''));
  for (const [id, own] of labels) {
    if (ids && !ids.has(id)) continue;
    const credential = state.credential(id);
    const kept = credential ? await labelsOf(keyholder, state, credential) : new Set();
    for (const label of own) if (kept && !kept.has(label)) await keyholder.destroyCredentialKey(label);
  }
}

/**
 * The same for credentials that lost a version, where their service takes a key that can be there. Throws
 * hsm_unavailable.
 */
export async function destroyKeysOf(
  keyholder: KeyholderClient,
  state: PolicyState,
  ids: ReadonlySet<string>,
): Promise<void> {
  const signing = state.rows().credentials.filter(({ id, service: name }) => {
    const service = ids.has(id) ? state.service(name) : undefined;
    return service && mayHaveKeys(state.definition(service));
  });
  if (signing.length > 0) await destroyUnreferenced(keyholder, state, ids);
}

/** The labels that versions of a credential refer to; undefined where the KEK of one that has to be opened is gone. */
async function labelsOf(
  keyholder: KeyholderClient,
  state: PolicyState,
  credential: CredentialsTable,
): Promise<ReadonlySet<string> | undefined> {
  const labels = new Set<string>();
  try {
    for (const version of state.heldVersions(credential)) {
      const label = await keyOfVersion(keyholder, state, credential, version);
      if (label !== undefined) labels.add(label);
    }
    return labels;
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'hsm_key_missing') return undefined;
    throw error;
  }
}

/** The key that a version refers to. Rows of an earlier form do not say: they are opened. */
async function keyOfVersion(
  keyholder: KeyholderClient,
  state: PolicyState,
  credential: CredentialsTable,
  version: CredentialVersionsTable,
): Promise<string | undefined> {
  if (version.hsm_key !== null || version.first_kek !== null) return version.hsm_key ?? undefined;
  const service = state.service(credential.service);
  if (!service) return undefined;
  const plaintext = await openVersion(keyholder, service, credential, version);
  try {
    return decodeFields(plaintext)
      .map(({ value }) => referencedKey(value))
      .find((label) => label !== undefined);
  } finally {
    plaintext.fill(0);
  }
}

/** RFC 7638. */
function thumbprint({ crv, e, kty, n, x, y }: webcrypto.JsonWebKey): string {
  const members = kty === 'RSA' ? { e, kty, n } : { crv, kty, x, y };
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url');
}
