import { createHash, createPublicKey, type webcrypto } from 'node:crypto';
import { SIGV4 } from '../../catalog/check.ts';
import { type Exchange, exchangeOf } from '../../catalog/exchange.ts';
import type { Service } from '../../catalog/service.ts';
import type { KeyType } from '../../channel/messages/keyholder.ts';
import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import type { CredentialsTable } from '../../store/schema.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { PolicyState } from '../policy/state.ts';
import { clientRoot } from './client-root.ts';
import { selfSigned } from './self-signed.ts';
import type { SecretValue } from './values.ts';
import { openVersion } from './versions.ts';

/**
 * Keys of credentials that are born in the HSM. In place of a private key their credential holds a PKCS #11 URI (RFC
 * 7512) that names it, sealed like any other value: versions, rollback and backups need nothing of their own.
 */
const BEFORE = 'pkcs11:object=';
const AFTER = ';type=private';
const PREFIX = Buffer.from('pkcs11:', 'latin1');

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

/** What stands in a credential for the key of that label. */
export function keyReference(label: string): Buffer {
  return Buffer.from(`${BEFORE}${label}${AFTER}`, 'latin1');
}

/** The label of the key that a value stands for; undefined where it is no reference but a value. */
export function referencedKey(value: Buffer): string | undefined {
  if (!value.subarray(0, PREFIX.length).equals(PREFIX)) return undefined;
  return value.toString('latin1').slice(BEFORE.length, -AFTER.length);
}

/** Throws invalid_credential where a value that somebody sets refers to a key: only `credential create` makes those. */
export function refuseReferences(secrets: readonly SecretValue[]): void {
  const reference = secrets.find(({ value }) => referencedKey(value) !== undefined);
  if (!reference) return;
  const message = `The field ${reference.name} names a key in an HSM: make one with \`sallyport credential create\`.`;
  throw new SallyportError('invalid_credential', message);
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
  const [label] = await labelsOf(keyholder, state, credential, 1);
  return label;
}

/**
 * Destroys the keys in the HSM that no version refers to any more: of the credentials `ids`, or of all. Only for a store
 * that is known to be the newest. Throws hsm_unavailable.
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
    const kept = new Set(credential ? await labelsOf(keyholder, state, credential) : []);
    for (const label of own) if (!kept.has(label)) await keyholder.destroyCredentialKey(label);
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

/** The labels that versions of a credential refer to, newest first. */
async function labelsOf(
  keyholder: KeyholderClient,
  state: PolicyState,
  credential: CredentialsTable,
  newest = Number.POSITIVE_INFINITY,
): Promise<string[]> {
  const service = state.service(credential.service);
  if (!service) return [];
  const labels: string[] = [];
  for (const version of state.heldVersions(credential).slice(0, newest)) {
    const plaintext = await openVersion(keyholder, service, credential, version);
    try {
      labels.push(...decodeFields(plaintext).flatMap(({ value }) => referencedKey(value) ?? []));
    } finally {
      plaintext.fill(0);
    }
  }
  return labels;
}

/** RFC 7638. */
function thumbprint({ crv, e, kty, n, x, y }: webcrypto.JsonWebKey): string {
  const members = kty === 'RSA' ? { e, kty, n } : { crv, kty, x, y };
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url');
}
