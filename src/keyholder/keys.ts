import pkcs11, { type Handle } from 'pkcs11js';
import { type Cryptoki, readAttribute } from './cryptoki.ts';
import { type HeldKey, type Sealer, sealedPoint } from './held-key.ts';
import { findKeks, type KekVersion, kekLabel } from './keks.ts';
import { confinedKey, heldKey, LABEL, missing, one } from './key-objects.ts';
import { pointOf } from './point.ts';
import { findSealer } from './sealer.ts';

/** CKA_ID of the keys that are not versioned. */
export const ID = { mac: Buffer.of(0xf0, 1), audit: Buffer.of(0xf0, 2), intake: Buffer.of(0xf0, 3) } as const;

/** The keys of one open session. Handles end with it: after a new login they are found again. */
export interface Keys {
  /** By label, oldest first. */
  readonly keks: ReadonlyMap<string, KekVersion>;
  /** New DEKs are wrapped with it. */
  readonly newest: KekVersion;
  readonly mac: HeldKey;
  readonly audit: Handle;
  readonly intake: HeldKey;
  /** Where there are keys that the token cannot hold. */
  readonly sealer: Sealer | undefined;
  /** Uncompressed points. */
  readonly auditPublic: Buffer;
  readonly intakePublic: Buffer;
}

/** Finds every key. Throws hsm_key_missing where one is not there, is there twice, or could leave the token. */
export function findKeys(token: Cryptoki): Keys {
  const sealer = findSealer(token);
  const keks = findKeks(token, sealer);
  const intake = heldKey(token, pkcs11.CKO_PRIVATE_KEY, LABEL.intake, sealer);
  return {
    keks,
    newest: newestOf(keks),
    mac: heldKey(token, pkcs11.CKO_SECRET_KEY, LABEL.mac, sealer),
    audit: confinedKey(token, pkcs11.CKO_PRIVATE_KEY, LABEL.audit),
    intake,
    sealer,
    auditPublic: publicPoint(token, LABEL.audit),
    intakePublic: intake.sealed ? sealedPoint(token, intake.sealed) : publicPoint(token, LABEL.intake),
  };
}

/** Throws hsm_key_missing where there is none. */
export function newestOf(keks: ReadonlyMap<string, KekVersion>): KekVersion {
  const newest = [...keks.values()].at(-1);
  if (newest) return newest;
  throw missing(kekLabel(1));
}

/** The public half under `label`, an uncompressed point. Throws hsm_key_missing, hsm_refused, and what the calls throw. */
export function publicPoint(token: Cryptoki, label: string): Buffer {
  return pointOf(readAttribute(token, one(token, pkcs11.CKO_PUBLIC_KEY, label), pkcs11.CKA_EC_POINT));
}
