import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { type Cryptoki, readAttribute } from './cryptoki.ts';
import { pointOf } from './point.ts';

export const LABEL = {
  kek: 'sallyport-kek-',
  mac: 'sallyport-mac',
  audit: 'sallyport-audit',
  intake: 'sallyport-intake',
} as const;

/** The first KEK; rotation makes the next numbers. */
export const FIRST_KEK = `${LABEL.kek}1`;

/** The keys of one open session. Handles end with it: after a new login they are found again. */
export interface Keys {
  readonly keks: ReadonlyMap<string, Handle>;
  /** Label of the newest KEK: new DEKs are wrapped with it. */
  readonly newestKek: string;
  readonly mac: Handle;
  readonly audit: Handle;
  readonly intake: Handle;
  /** Uncompressed points. */
  readonly auditPublic: Buffer;
  readonly intakePublic: Buffer;
}

/** Finds every key. Throws hsm_key_missing where one is not there, is there twice, or could leave the token. */
export function findKeys(token: Cryptoki): Keys {
  const keks = new Map<string, Handle>();
  let newest = 0;
  for (const handle of find(token, pkcs11.CKO_SECRET_KEY)) {
    const label = readAttribute(token, handle, pkcs11.CKA_LABEL).toString('utf8');
    const number = kekNumber(label);
    if (number === undefined) continue;
    if (keks.has(label)) throw twice(label);
    keks.set(label, confined(token, handle, label));
    newest = Math.max(newest, number);
  }
  if (newest === 0) throw missing(FIRST_KEK);
  const own = (label: string, kind: number): Handle => confined(token, one(token, kind, label), label);
  const open = (label: string): Buffer =>
    pointOf(readAttribute(token, one(token, pkcs11.CKO_PUBLIC_KEY, label), pkcs11.CKA_EC_POINT));
  return {
    keks,
    newestKek: `${LABEL.kek}${newest}`,
    mac: own(LABEL.mac, pkcs11.CKO_SECRET_KEY),
    audit: own(LABEL.audit, pkcs11.CKO_PRIVATE_KEY),
    intake: own(LABEL.intake, pkcs11.CKO_PRIVATE_KEY),
    auditPublic: open(LABEL.audit),
    intakePublic: open(LABEL.intake),
  };
}

/** Labels of the keys of ours that the token holds already. */
export function existingKeys(token: Cryptoki): string[] {
  const labels = new Set<string>();
  for (const kind of [pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY]) {
    for (const handle of find(token, kind)) {
      const label = readAttribute(token, handle, pkcs11.CKA_LABEL).toString('utf8');
      const fixed: readonly string[] = [LABEL.mac, LABEL.audit, LABEL.intake];
      if (fixed.includes(label) || kekNumber(label) !== undefined) labels.add(label);
    }
  }
  return [...labels].sort();
}

/** Objects of class `kind` and, where given, `label`. */
export function find({ lib, session }: Cryptoki, kind: number, label?: string): Handle[] {
  const template = [{ type: pkcs11.CKA_CLASS, value: kind }];
  lib.C_FindObjectsInit(
    session,
    label === undefined ? template : [...template, { type: pkcs11.CKA_LABEL, value: label }],
  );
  try {
    const found: Handle[] = [];
    for (let handle = lib.C_FindObjects(session); handle; handle = lib.C_FindObjects(session)) {
      found.push(handle);
    }
    return found;
  } finally {
    lib.C_FindObjectsFinal(session);
  }
}

/** Reads a boolean attribute; `unknown` where the token does not have it. */
export function readFlag(token: Cryptoki, object: Handle, type: number, unknown: boolean): boolean {
  try {
    const value = readAttribute(token, object, type);
    return value.length === 0 ? unknown : value[0] !== 0;
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('CKR_ATTRIBUTE_TYPE_INVALID')) return unknown;
    throw error;
  }
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

function kekNumber(label: string): number | undefined {
  const digits = /^sallyport-kek-([1-9]\d{0,8})$/.exec(label)?.[1];
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
