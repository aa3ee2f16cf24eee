import { createECDH, createHmac, randomFillSync } from 'node:crypto';
import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { allocateSecret } from '../secret-buffer.ts';
import type { Cryptoki } from './cryptoki.ts';
import { ecdh } from './ecdh.ts';
import { generateEcPair, generateHmacKey, type Naming } from './generate.ts';
import { hmac, MAC_BYTES } from './hmac.ts';
import type { Mechanisms } from './mechanisms.ts';
import { checkPoint } from './point.ts';
import type { PublicKeyWay } from './profiles/public-key.ts';

const KEY_BYTES = 32;

/**
 * A key that HMACs or agrees: in the token where it can, and never out of it. Tokens without HMAC keys or plain ECDH hold
 * it in a private data object, encrypted to a pair of their own: then it is opened for each operation into this process
 * and wiped, so that only the token gives it out, but this process sees it.
 */
export interface HeldKey {
  /** The key, or the data object. */
  readonly handle: Handle;
  readonly sealed: Sealed | undefined;
}

export interface Sealed {
  readonly sealer: Sealer;
  /** The data object's value: the way's format (1) ‖ what it sealed, with the key's label as AAD. */
  readonly value: Buffer;
  readonly label: string;
}

/** The pair that such keys are encrypted to. */
export interface Sealer {
  readonly way: PublicKeyWay;
  readonly key: Handle;
  readonly publicKey: Buffer;
}

/** Which keys a token can hold as keys. */
export interface Abilities {
  readonly hmac: boolean;
  /** ECDH without a key derivation function, its result readable. */
  readonly ecdh: boolean;
}

/** What the token's list promises. */
export function listedAbilities(mechanisms: Mechanisms): Abilities {
  return {
    hmac: mechanisms.has(pkcs11.CKM_SHA256_HMAC) && mechanisms.has(pkcs11.CKM_GENERIC_SECRET_KEY_GEN),
    ecdh: mechanisms.has(pkcs11.CKM_ECDH1_DERIVE),
  };
}

/** Makes an HMAC key in the token or, given a sealer, sealed to that. Gives every object made. */
export function makeHmacKey(token: Cryptoki, naming: Naming, sealer: Sealer | undefined): Handle[] {
  return [sealer ? store(token, naming, sealer) : generateHmacKey(token, naming)];
}

/** Makes a pair that agrees in the token or, given a sealer, sealed to that. Gives every object made. */
export function makeAgreementKey(token: Cryptoki, naming: Naming, sealer: Sealer | undefined): Handle[] {
  if (sealer) return [store(token, naming, sealer)];
  const { privateKey, publicKey } = generateEcPair(token, naming, pkcs11.CKA_DERIVE);
  return [privateKey, publicKey];
}

/** HMAC-SHA-256 of each message, 32 bytes each. Throws what the calls throw. */
export function macs(token: Cryptoki, key: HeldKey, messages: readonly Buffer[]): Buffer[] {
  const { sealed } = key;
  if (sealed) {
    return opened(token, sealed, (secret) =>
      messages.map((message) => createHmac('sha256', secret).update(message).digest()),
    );
  }
  const all = Buffer.allocUnsafeSlow(MAC_BYTES * messages.length);
  return messages.map((message, index) => {
    const out = all.subarray(index * MAC_BYTES, (index + 1) * MAC_BYTES);
    return hmac(token, key.handle, message, out);
  });
}

/** The x coordinate of ECDH with `point`, 32 bytes, which the caller wipes. Throws hsm_refused, and what the calls throw. */
export function agreement(token: Cryptoki, { handle, sealed }: HeldKey, point: Buffer): Buffer {
  if (!sealed) return ecdh(token, handle, point);
  checkPoint(point);
  return opened(token, sealed, (secret) => pairOf(secret).computeSecret(point));
}

/** The public half of a sealed pair: an uncompressed point. */
export function sealedPoint(token: Cryptoki, sealed: Sealed): Buffer {
  return opened(token, sealed, (secret) => pairOf(secret).getPublicKey());
}

function pairOf(secret: Buffer): ReturnType<typeof createECDH> {
  const pair = createECDH('prime256v1');
  pair.setPrivateKey(secret);
  return pair;
}

/** 32 random bytes, which for P-256 are a private key too (but for one chance in 2^32, which setPrivateKey refuses). */
function store(token: Cryptoki, { label, stored }: Naming, { way, publicKey }: Sealer): Handle {
  const secret = randomFillSync(allocateSecret(KEY_BYTES));
  try {
    const value = Buffer.concat([Buffer.of(way.format), way.seal(publicKey, secret, Buffer.from(label))]);
    return token.lib.C_CreateObject(token.session, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
      { type: pkcs11.CKA_TOKEN, value: stored },
      { type: pkcs11.CKA_PRIVATE, value: true },
      { type: pkcs11.CKA_APPLICATION, value: 'sallyport' },
      { type: pkcs11.CKA_LABEL, value: label },
      { type: pkcs11.CKA_VALUE, value },
    ]);
  } finally {
    secret.fill(0);
  }
}

function opened<T>(token: Cryptoki, { sealer, value, label }: Sealed, use: (secret: Buffer) => T): T {
  const { way, key, publicKey } = sealer;
  const secret =
    value[0] === way.format
      ? way.open(token, key, publicKey, value.subarray(1), Buffer.from(label))
      : Buffer.alloc(0);
  try {
    if (secret.length === KEY_BYTES) return use(secret);
  } finally {
    secret.fill(0);
  }
  throw new SallyportError(
    'hsm_refused',
    `What the token holds as ${label} is no key: restore it from a backup.`,
  );
}
