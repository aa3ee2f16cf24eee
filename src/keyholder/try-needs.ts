import { createECDH } from 'node:crypto';
import pkcs11, { type Handle } from 'pkcs11js';
import type { TokenReport } from '../channel/messages/hsm-report.ts';
import { SallyportError } from '../errors.ts';
import { type Cryptoki, readAttribute, returnValue } from './cryptoki.ts';
import { ecdh } from './ecdh.ts';
import { generateEcPair, generateHmacKey } from './generate.ts';
import { hmac, MAC_BYTES, whole } from './hmac.ts';
import { medianMicroseconds } from './median.ts';

type Need = TokenReport['needs'][number];

const NAMING = { label: 'sallyport-session-trial', id: Buffer.of(0xf0, 0xfe), stored: false };
const MESSAGE = Buffer.alloc(64, 0x5a);

/**
 * Tries, with objects that end with the session, what every installation asks of its token whatever wraps its DEKs, and
 * takes the time. Throws what is no answer of the token.
 */
export function tryNeeds(token: Cryptoki): Need[] {
  return [
    need('HMAC-SHA-256', () => tryMac(token)),
    need('ECDSA', () => trySign(token)),
    need('ECDH', () => tryAgree(token)),
    need('private data objects', () => tryData(token)),
  ];
}

function need(what: string, attempt: () => number): Need {
  try {
    return { what, verdict: 'works', reason: '', p50: attempt() };
  } catch (error) {
    const name = returnValue(error);
    if (name === undefined && !(error instanceof SallyportError)) throw error;
    const reason = error instanceof SallyportError ? error.message : `the token answered ${name}`;
    return { what, verdict: 'fails', reason, p50: null };
  }
}

/** The CKR_ value with which a token refuses to make a key of the session; undefined where it makes one. */
export function sessionKeyRefusal(token: Cryptoki): string | undefined {
  try {
    destroying(
      token,
      () => [generateHmacKey(token, NAMING)],
      () => undefined,
    );
    return undefined;
  } catch (error) {
    const name = returnValue(error);
    if (name === undefined) throw error;
    return name;
  }
}

function tryMac(token: Cryptoki): number {
  return destroying(
    token,
    () => [generateHmacKey(token, NAMING)],
    (key) => medianMicroseconds(() => hmac(token, key, MESSAGE, Buffer.allocUnsafeSlow(MAC_BYTES))),
  );
}

function trySign(token: Cryptoki): number {
  const { lib, session } = token;
  return destroying(
    token,
    () => pair(token, pkcs11.CKA_SIGN),
    (key) =>
      medianMicroseconds(() => {
        lib.C_SignInit(session, { mechanism: pkcs11.CKM_ECDSA }, key);
        whole(lib.C_Sign(session, MESSAGE.subarray(0, 32), Buffer.allocUnsafeSlow(64)), 64);
      }),
  );
}

function tryAgree(token: Cryptoki): number {
  const point = createECDH('prime256v1').generateKeys();
  return destroying(
    token,
    () => pair(token, pkcs11.CKA_DERIVE),
    (key) => medianMicroseconds(() => ecdh(token, key, point).fill(0)),
  );
}

function tryData(token: Cryptoki): number {
  const { lib, session } = token;
  return medianMicroseconds(() =>
    destroying(
      token,
      () => [
        lib.C_CreateObject(session, [
          { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
          { type: pkcs11.CKA_TOKEN, value: false },
          { type: pkcs11.CKA_PRIVATE, value: true },
          { type: pkcs11.CKA_APPLICATION, value: 'sallyport' },
          { type: pkcs11.CKA_LABEL, value: NAMING.label },
          { type: pkcs11.CKA_VALUE, value: MESSAGE },
        ]),
      ],
      (object) => whole(readAttribute(token, object, pkcs11.CKA_VALUE), MESSAGE.length),
    ),
  );
}

function pair(token: Cryptoki, use: number): [Handle, Handle] {
  const { privateKey, publicKey } = generateEcPair(token, NAMING, use);
  return [privateKey, publicKey];
}

/** Uses the first of the objects that `make` makes, and destroys them all. */
function destroying<T>({ lib, session }: Cryptoki, make: () => Handle[], use: (first: Handle) => T): T {
  const made = make();
  try {
    const [first] = made;
    if (first === undefined) throw new TypeError('no object was made');
    return use(first);
  } finally {
    for (const object of made) lib.C_DestroyObject(session, object);
  }
}
