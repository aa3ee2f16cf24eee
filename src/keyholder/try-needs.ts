import { createECDH } from 'node:crypto';
import pkcs11, { type Handle } from 'pkcs11js';
import type { TokenReport } from '../channel/messages/hsm-report.ts';
import { SallyportError } from '../errors.ts';
import { type Cryptoki, meaning, readAttribute, returnValue } from './cryptoki.ts';
import { ecdh } from './ecdh.ts';
import { generateEcPair, generateHmacKey, type Naming } from './generate.ts';
import { type Abilities, listedAbilities } from './held-key.ts';
import { hmac, MAC_BYTES, whole } from './hmac.ts';
import { medianMicroseconds } from './median.ts';
import { makeSealer, sealerId, trySealer } from './sealer.ts';

type Need = TokenReport['needs'][number];
/** Runs an operation once, or often enough to tell how long it takes: in microseconds. */
type Measure = (run: () => void) => number;

const MESSAGE = Buffer.alloc(64, 0x5a);
/** What a token says to what it does not do. */
const UNABLE = new Set(['CKR_ARGUMENTS_BAD', 'CKR_ATTRIBUTE_VALUE_INVALID', 'CKR_TEMPLATE_INCONSISTENT']);

const once: Measure = (run) => {
  run();
  return 0;
};

function naming(stored: boolean): Naming {
  return { label: stored ? 'sallyport-trial' : 'sallyport-session-trial', id: Buffer.of(0xf0, 0xfe), stored };
}

/**
 * Which keys the token can hold, tried out with keys of the session or, where it has none, with stored ones. Throws what
 * a device that is lost or unwell answers: no key is sealed for that.
 */
export function tryAbilities(token: Cryptoki): Abilities {
  const listed = listedAbilities(token.mechanisms);
  return {
    hmac: listed.hmac && can((stored) => tryMac(token, stored, once)),
    ecdh: listed.ecdh && can((stored) => tryAgree(token, stored, once)),
  };
}

function can(attempt: (stored: boolean) => unknown): boolean {
  for (const stored of [false, true]) {
    try {
      attempt(stored);
      return true;
    } catch (error) {
      const name = returnValue(error);
      if (name === undefined) throw error;
      if (!UNABLE.has(name) && !['refused', 'unsupported'].includes(meaning(name))) throw error;
    }
  }
  return false;
}

/**
 * Tries, with objects that end with the session, what every installation asks of its token whatever wraps its DEKs, and
 * takes the time. Throws what is no answer of the token.
 */
export function tryNeeds(token: Cryptoki): Need[] {
  const { hmac, ecdh } = listedAbilities(token.mechanisms);
  const measure = medianMicroseconds;
  const needs = [
    need('ECDSA', () => trySign(token, measure)),
    orSealed(
      hmac,
      need('HMAC-SHA-256', () => tryMac(token, false, measure)),
    ),
    orSealed(
      ecdh,
      need('ECDH', () => tryAgree(token, false, measure)),
    ),
    need('private data objects', () => tryData(token, false, measure)),
  ];
  if (needs.every(({ verdict }) => verdict !== 'sealed')) return needs.map(orFile);
  return [...needs, need('sealing those keys', () => trySealing(token, measure))];
}

/** A key that the token cannot hold is not missing: it is sealed. */
function orSealed(listed: boolean, tried: Need): Need {
  if (listed && tried.verdict === 'works') return tried;
  return { ...tried, verdict: 'sealed', reason: listed ? tried.reason : 'the token does not list it' };
}

/** The anchor alone can do without data objects; sealed keys are such. */
function orFile(tried: Need): Need {
  return tried.what === 'private data objects' && tried.verdict === 'fails'
    ? { ...tried, verdict: 'file' }
    : tried;
}

/** Whether the token keeps private data objects. Throws what a device that is lost or unwell answers. */
export function keepsData(token: Cryptoki): boolean {
  return can((stored) => tryData(token, stored, once));
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
      () => pair(token, false, pkcs11.CKA_SIGN),
      () => undefined,
    );
    return undefined;
  } catch (error) {
    const name = returnValue(error);
    if (name === undefined) throw error;
    return name;
  }
}

function tryMac(token: Cryptoki, stored: boolean, measure: Measure): number {
  return destroying(
    token,
    () => [generateHmacKey(token, naming(stored))],
    (key) => measure(() => hmac(token, key, MESSAGE, Buffer.allocUnsafeSlow(MAC_BYTES))),
  );
}

function trySealing(token: Cryptoki, measure: Measure): number {
  const made: Handle[] = [];
  try {
    const sealer = makeSealer(token, (way) => ({ ...naming(false), id: sealerId(way) }), made);
    return measure(() => trySealer(token, sealer));
  } finally {
    for (const object of made) token.lib.C_DestroyObject(token.session, object);
  }
}

function trySign(token: Cryptoki, measure: Measure): number {
  const { lib, session } = token;
  return destroying(
    token,
    () => pair(token, false, pkcs11.CKA_SIGN),
    (key) =>
      measure(() => {
        lib.C_SignInit(session, { mechanism: pkcs11.CKM_ECDSA }, key);
        whole(lib.C_Sign(session, MESSAGE.subarray(0, 32), Buffer.allocUnsafeSlow(64)), 64);
      }),
  );
}

function tryAgree(token: Cryptoki, stored: boolean, measure: Measure): number {
  const point = createECDH('prime256v1').generateKeys();
  return destroying(
    token,
    () => pair(token, stored, pkcs11.CKA_DERIVE),
    (key) => measure(() => ecdh(token, key, point).fill(0)),
  );
}

function tryData(token: Cryptoki, stored: boolean, measure: Measure): number {
  const { lib, session } = token;
  return measure(() =>
    destroying(
      token,
      () => [
        lib.C_CreateObject(session, [
          { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
          { type: pkcs11.CKA_TOKEN, value: stored },
          { type: pkcs11.CKA_PRIVATE, value: true },
          { type: pkcs11.CKA_APPLICATION, value: 'sallyport' },
          { type: pkcs11.CKA_LABEL, value: naming(stored).label },
          { type: pkcs11.CKA_VALUE, value: MESSAGE },
        ]),
      ],
      (object) => whole(readAttribute(token, object, pkcs11.CKA_VALUE), MESSAGE.length),
    ),
  );
}

function pair(token: Cryptoki, stored: boolean, use: number): [Handle, Handle] {
  const { privateKey, publicKey } = generateEcPair(token, naming(stored), use);
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
