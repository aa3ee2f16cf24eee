import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { type Cryptoki, readAttribute } from './cryptoki.ts';
import { find, readFlag, readOptional } from './find.ts';
import { pointOf } from './point.ts';
import { aesGcm } from './profiles/aes-gcm.ts';
import type { Kek, Profile } from './profiles/profile.ts';
import { profileOf } from './profiles/registry.ts';

export const LABEL = {
  kek: 'sallyport-kek-',
  bind: 'sallyport-bind-',
  mac: 'sallyport-mac',
  audit: 'sallyport-audit',
  intake: 'sallyport-intake',
} as const;

/** CKA_ID of the keys that are not versioned. A KEK's is its profile's format and the low byte of its number. */
export const ID = { mac: Buffer.of(0xf0, 1), audit: Buffer.of(0xf0, 2), intake: Buffer.of(0xf0, 3) } as const;

/** A KEK of ours: number n is `sallyport-kek-n`. */
export interface KekVersion extends Kek {
  readonly number: number;
  readonly profile: Profile;
}

/** The keys of one open session. Handles end with it: after a new login they are found again. */
export interface Keys {
  /** By label, oldest first. */
  readonly keks: ReadonlyMap<string, KekVersion>;
  /** New DEKs are wrapped with it. */
  readonly newest: KekVersion;
  readonly mac: Handle;
  readonly audit: Handle;
  readonly intake: Handle;
  /** Uncompressed points. */
  readonly auditPublic: Buffer;
  readonly intakePublic: Buffer;
}

/** Finds every key. Throws hsm_key_missing where one is not there, is there twice, or could leave the token. */
export function findKeys(token: Cryptoki): Keys {
  const keks = findKeks(token);
  const newest = [...keks.values()].at(-1);
  if (!newest) throw missing(`${LABEL.kek}1`);
  const own = (label: string, kind: number): Handle => confined(token, one(token, kind, label), label);
  const open = (label: string): Buffer =>
    pointOf(readAttribute(token, one(token, pkcs11.CKO_PUBLIC_KEY, label), pkcs11.CKA_EC_POINT));
  return {
    keks,
    newest,
    mac: own(LABEL.mac, pkcs11.CKO_SECRET_KEY),
    audit: own(LABEL.audit, pkcs11.CKO_PRIVATE_KEY),
    intake: own(LABEL.intake, pkcs11.CKO_PRIVATE_KEY),
    auditPublic: open(LABEL.audit),
    intakePublic: open(LABEL.intake),
  };
}

/** Every KEK version, oldest first. A key to bind with that has no KEK is what a killed rotation left: passed over. */
function findKeks(token: Cryptoki): Map<string, KekVersion> {
  const found: KekVersion[] = [];
  for (const kind of [pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY]) {
    for (const key of find(token, kind)) {
      const label = labelOf(token, key);
      const number = versionOf(label, LABEL.kek);
      if (number === undefined) continue;
      const profile = recordedProfile(token, key, label);
      if ((profile.kek === 'secret') !== (kind === pkcs11.CKO_SECRET_KEY)) throw foreign(label);
      found.push({ ...readKek(token, profile, label, bindLabel(number), key), number, profile });
    }
  }
  found.sort((a, b) => a.number - b.number);
  const keks = new Map<string, KekVersion>();
  for (const kek of found) {
    if (keks.has(kek.label)) throw twice(kek.label);
    keks.set(kek.label, kek);
  }
  return keks;
}

/** A KEK with all that its profile needs beside it. Throws hsm_key_missing, hsm_refused, and what the calls throw. */
export function readKek(token: Cryptoki, profile: Profile, label: string, bind: string, key: Handle): Kek {
  return {
    label,
    key: confined(token, key, label),
    publicKey: profile.readPublicKey?.(token, one(token, pkcs11.CKO_PUBLIC_KEY, label)),
    bind: profile.binds ? confined(token, one(token, pkcs11.CKO_SECRET_KEY, bind), bind) : undefined,
  };
}

/** Which profile made it stands in its CKA_ID. The first keys were made without one, for AES-GCM. */
function recordedProfile(token: Cryptoki, key: Handle, label: string): Profile {
  const id = readOptional(token, key, pkcs11.CKA_ID);
  if (id.length === 0) return aesGcm;
  const profile = id.length === 2 ? profileOf(id[0]) : undefined;
  if (!profile) throw foreign(label);
  return profile;
}

export function kekLabel(number: number): string {
  return `${LABEL.kek}${number}`;
}

export function bindLabel(number: number): string {
  return `${LABEL.bind}${number}`;
}

export function kekId(profile: Profile, number: number): Buffer {
  return Buffer.of(profile.format, number & 0xff);
}

/** Labels of the keys of ours that the token holds already. */
export function existingKeys(token: Cryptoki): string[] {
  const fixed: readonly string[] = [LABEL.mac, LABEL.audit, LABEL.intake];
  const labels = new Set<string>();
  for (const kind of [pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY]) {
    for (const handle of find(token, kind)) {
      const label = labelOf(token, handle);
      const versioned = [LABEL.kek, LABEL.bind].some((prefix) => versionOf(label, prefix) !== undefined);
      if (versioned || fixed.includes(label)) labels.add(label);
    }
  }
  return [...labels].sort();
}

function labelOf(token: Cryptoki, object: Handle): string {
  return readOptional(token, object, pkcs11.CKA_LABEL).toString('utf8');
}

function one(token: Cryptoki, kind: number, label: string): Handle {
  const [handle, second] = find(token, kind, label);
  if (!handle) throw missing(label);
  if (second) throw twice(label);
  return handle;
}

function confined(token: Cryptoki, handle: Handle, label: string): Handle {
  if (
    readFlag(token, handle, pkcs11.CKA_SENSITIVE, false) &&
    !readFlag(token, handle, pkcs11.CKA_EXTRACTABLE, true)
  ) {
    return handle;
  }
  throw new SallyportError(
    'hsm_key_missing',
    `The key ${label} could leave the token (extractable or not sensitive): use a token whose keys \`init\` made.`,
  );
}

/** The number in a label that is `prefix` and a number. */
export function versionOf(label: string, prefix: string): number | undefined {
  if (!label.startsWith(prefix)) return undefined;
  const digits = /^[1-9]\d{0,8}$/.exec(label.slice(prefix.length))?.[0];
  return digits === undefined ? undefined : Number(digits);
}

function missing(label: string): SallyportError {
  const message = `The token holds no key ${label}: use the token that \`init\` made keys in, or run \`init\` with it.`;
  return new SallyportError('hsm_key_missing', message);
}

function twice(label: string): SallyportError {
  const message = `The token holds two keys ${label}: remove the one that is not ours with the vendor's tool.`;
  return new SallyportError('hsm_key_missing', message);
}

function foreign(label: string): SallyportError {
  const message = `The key ${label} was made in a way that this version does not know: use the version that made it.`;
  return new SallyportError('hsm_key_missing', message);
}
