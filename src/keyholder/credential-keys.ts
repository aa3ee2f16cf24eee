import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto';
import pkcs11, { type Handle, type KeyPair } from 'pkcs11js';
import type { KeyType } from '../channel/messages/keyholder.ts';
import { SallyportError } from '../errors.ts';
import { readAttribute } from './cryptoki.ts';
import { readNumber, readOptional } from './find.ts';
import { generateEcPair, generateRsaPair } from './generate.ts';
import { whole } from './hmac.ts';
import { CREDENTIAL_KEY_LABEL, confined, one } from './key-objects.ts';
import { destroyUnder, keysLike, keyUnder, newId } from './labelled-keys.ts';
import { pointOf, publicKeyOf, rsaPublicKey } from './point.ts';
import type { Token } from './token.ts';

/** r‖s of P-256. */
const ECDSA_BYTES = 64;
/** DER of DigestInfo up to the digest, for SHA-256 (RFC 8017, 9.2, note 1). */
const SHA256_INFO = Buffer.from('3031300d060960864801650304020105000420', 'hex');

/**
 * Makes a pair for a credential in the token: it signs and nothing else, and never leaves it. Answers its public half
 * (SPKI, DER). What an earlier attempt left under that label goes first: nobody has had its public half. Throws
 * channel_malformed for any other label, hsm_mechanism_missing, and what the calls throw.
 */
export function makeCredentialKey(token: Token, label: string, type: KeyType): Buffer {
  destroyCredentialKey(token, label);
  const pair = generate(token, label, type);
  confined(token, pair.privateKey, label);
  return spkiOf(token, pair.publicKey);
}

/**
 * The public half of the pair under that label (SPKI, DER). A token's public objects are not protected by its PIN, and
 * whoever registered another's key would let that other in: the private half signs, and it must verify. Throws
 * hsm_key_missing, hsm_refused where it does not, and what the calls throw.
 */
export function credentialPublicKey(token: Token, label: string): Buffer {
  const spki = spkiOf(token, one(token, pkcs11.CKO_PUBLIC_KEY, ours(label)));
  const message = randomBytes(32);
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  const signature = signWithCredentialKey(token, label, message);
  if (verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature)) return spki;
  throw new SallyportError(
    'hsm_refused',
    `The public half of ${label} in the token is not that of its private half: register nothing; make another key.`,
  );
}

/**
 * Signs SHA-256 of `message` with the key under that label: PKCS #1 v1.5 (RFC 8017, 8.2) by an RSA key, r‖s by one of
 * P-256. Throws hsm_key_missing, and what the calls throw.
 */
export function signWithCredentialKey(token: Token, label: string, message: Buffer): Buffer {
  const { lib, session } = token;
  const key = keyUnder(token, ours(label));
  if (!key) throw gone(label);
  const digest = createHash('sha256').update(message).digest();
  if (readNumber(token, key, pkcs11.CKA_KEY_TYPE) === pkcs11.CKK_EC) {
    lib.C_SignInit(session, { mechanism: pkcs11.CKM_ECDSA }, key);
    return whole(lib.C_Sign(session, digest, Buffer.allocUnsafeSlow(ECDSA_BYTES)), ECDSA_BYTES);
  }
  const length = readOptional(token, key, pkcs11.CKA_MODULUS).length;
  lib.C_SignInit(session, { mechanism: pkcs11.CKM_RSA_PKCS }, key);
  const info = Buffer.concat([SHA256_INFO, digest]);
  return whole(lib.C_Sign(session, info, Buffer.allocUnsafeSlow(length)), length);
}

/** Destroys the pair under that label; where it is gone already nothing is done. Throws what the calls throw. */
export function destroyCredentialKey(token: Token, label: string): void {
  destroyUnder(token, ours(label));
}

/** The credentials' private keys in the token, by label. Throws what the calls throw. */
export function credentialKeys(token: Token): [label: string, key: Handle][] {
  return keysLike(token, CREDENTIAL_KEY_LABEL);
}

function generate(token: Token, label: string, type: KeyType): KeyPair {
  const naming = { label, id: newId(), stored: true };
  if (type === 'p-256') return generateEcPair(token, naming, pkcs11.CKA_SIGN);
  const needed = [pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS];
  if (!needed.every((mechanism) => token.mechanisms.has(mechanism))) {
    const message =
      'The token makes no RSA keys that sign: use one that does, or set the credential with a key of your own.';
    throw new SallyportError('hsm_mechanism_missing', message);
  }
  return generateRsaPair(token, naming, type === 'rsa-3072' ? 3072 : 2048, pkcs11.CKA_SIGN);
}

function spkiOf(token: Token, object: Handle): Buffer {
  const key =
    readNumber(token, object, pkcs11.CKA_KEY_TYPE) === pkcs11.CKK_EC
      ? publicKeyOf(pointOf(readAttribute(token, object, pkcs11.CKA_EC_POINT)))
      : rsaPublicKey(token, object);
  return key.export({ type: 'spki', format: 'der' });
}

/** The vault names keys here, and must not reach the other ones by that. */
function ours(label: string): string {
  if (CREDENTIAL_KEY_LABEL.test(label)) return label;
  throw new SallyportError('channel_malformed', 'The keyholder was asked for a key by a name that none has.');
}

function gone(label: string): SallyportError {
  const message = `The token holds no key ${label}: use the token that it was made in, or make another with \`sallyport credential create\`.`;
  return new SallyportError('hsm_key_missing', message);
}
