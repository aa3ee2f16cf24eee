import pkcs11, { type Handle, type Template } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { firstLiked } from './generate.ts';
import { hmac, MAC_BYTES } from './hmac.ts';
import { CREDENTIAL_KEY_LABEL, confined } from './key-objects.ts';
import { destroyUnder, keyUnder, newId } from './labelled-keys.ts';
import type { Token } from './token.ts';

const MOST_BYTES = 256;
/** Most tokens take it for a generic secret, YubiHSM's only as of its own type. */
const KEY_TYPES = [pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA256_HMAC] as const;
const FORBIDDEN = [
  pkcs11.CKA_ENCRYPT,
  pkcs11.CKA_DECRYPT,
  pkcs11.CKA_WRAP,
  pkcs11.CKA_UNWRAP,
  pkcs11.CKA_DERIVE,
] as const;

/**
 * Puts a credential's secret into the token as a key for HMAC, which does that and nothing else and does not leave it any
 * more. What an earlier attempt left under that label goes first. Throws channel_malformed for any other label, and
 * what the calls throw.
 */
export function importHmacKey(token: Token, label: string, value: Buffer): void {
  if (value.length === 0 || value.length > MOST_BYTES) throw malformed();
  destroyUnder(token, ours(label));
  const template = (keyType: number): Template => [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: keyType },
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_LABEL, value: label },
    { type: pkcs11.CKA_ID, value: newId() },
    { type: pkcs11.CKA_PRIVATE, value: true },
    { type: pkcs11.CKA_SENSITIVE, value: true },
    { type: pkcs11.CKA_EXTRACTABLE, value: false },
    { type: pkcs11.CKA_SIGN, value: true },
    { type: pkcs11.CKA_VERIFY, value: false },
    ...FORBIDDEN.map((type) => ({ type, value: false })),
    { type: pkcs11.CKA_VALUE, value },
  ];
  const put = (keyType: number): Handle => token.lib.C_CreateObject(token.session, template(keyType));
  confined(token, firstLiked(KEY_TYPES, put), label);
}

/** HMAC-SHA-256 of `message` with that key: 32 bytes, which the caller wipes. Throws hsm_key_missing, and what the calls throw. */
export function hmacWithKey(token: Token, label: string, message: Buffer): Buffer {
  const key = keyUnder(token, ours(label), pkcs11.CKO_SECRET_KEY);
  if (key) return hmac(token, key, message, Buffer.allocUnsafeSlow(MAC_BYTES));
  throw new SallyportError(
    'hsm_key_missing',
    `The token holds no key ${label}: use the token that it was put into, or set the credential anew.`,
  );
}

function ours(label: string): string {
  if (CREDENTIAL_KEY_LABEL.test(label)) return label;
  throw malformed();
}

function malformed(): SallyportError {
  return new SallyportError('channel_malformed', 'The keyholder was asked for a key that none can be.');
}
