import { createSign } from 'node:crypto';
import { SallyportError } from '../../errors.ts';
import { parseSecretObject } from '../../sealing/secret-object.ts';
import { allocateSecret, copySecret } from '../../secret-buffer.ts';
import type { SigningKey } from './jwt.ts';

const BACKSLASH = 0x5c;
const LETTER_N = 0x6e;
const LINE_FEED = 0x0a;
const ES256_BYTES = 64;
/** Of a signature by RSA-2048. */
const RS256_BYTES = 256;

/**
 * A private key in PEM (PKCS #8, PKCS #1, SEC 1) that stays the caller's, who wipes it. It is handed to OpenSSL as bytes
 * for each signature: a KeyObject keeps it until it is collected, and so does the one-shot `crypto.sign` (measured: 100
 * copies after 100 signatures; 0 with this).
 */
export function pemKey(pem: Buffer, algorithm: SigningKey['algorithm']): SigningKey {
  return {
    algorithm,
    sign: async (input) => {
      let signature: Buffer;
      try {
        signature = createSign('sha256')
          .update(input)
          .sign({ key: pem, format: 'pem', dsaEncoding: 'ieee-p1363' });
      } catch {
        throw unusable(); // without the cause: OpenSSL may quote what it read
      }
      const fits = algorithm === 'ES256' ? signature.length === ES256_BYTES : signature.length >= RS256_BYTES;
      if (!fits) throw unusable();
      return signature;
    },
  };
}

/** A copy of a PEM text, which the caller wipes, with "\n" written out (as in JSON) read as line ends. */
export function unescapedPem(text: Buffer): Buffer {
  const pem = allocateSecret(text.length);
  let length = 0;
  for (let at = 0; at < text.length; at++) {
    const escaped = text[at] === BACKSLASH && text[at + 1] === LETTER_N;
    pem[length++] = escaped ? LINE_FEED : (text[at] ?? 0);
    if (escaped) at += 1;
  }
  return pem.subarray(0, length);
}

/** What of a service account's key file (Google's JSON) is needed. `pem` is the caller's to wipe. */
export interface ServiceAccountKey {
  readonly pem: Buffer;
  readonly keyId: string;
  readonly email: string;
}

/** Throws exchange_refused where it is none. */
export function readServiceAccount(json: Buffer): ServiceAccountKey {
  const fields = parseSecretObject(json) ?? [];
  const textOf = (name: string): string =>
    fields.find((field) => field.name === name)?.value.toString('utf8') ?? '';
  const key = fields.find((field) => field.name === 'private_key');
  const email = textOf('client_email');
  try {
    if (!key || email === '') throw unusable('it is not the JSON file of a service account');
    return { pem: copySecret(key.value), keyId: textOf('private_key_id'), email };
  } finally {
    for (const { value } of fields) value.fill(0);
  }
}

function unusable(why = 'its private key is not one that the service takes'): SallyportError {
  return new SallyportError(
    'exchange_refused',
    `The credential cannot be used: ${why}. Ask the owner to set it again with "sallyport credential set".`,
  );
}
