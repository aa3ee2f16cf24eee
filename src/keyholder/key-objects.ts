import pkcs11, { type Handle } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { type Cryptoki, readAttribute } from './cryptoki.ts';
import { find, readFlag, readOptional } from './find.ts';
import type { HeldKey, Sealer } from './held-key.ts';

export const LABEL = {
  kek: 'sallyport-kek-',
  bind: 'sallyport-bind-',
  mac: 'sallyport-mac',
  audit: 'sallyport-audit',
  intake: 'sallyport-intake',
  /** Encrypts what the token cannot hold as a key. */
  seal: 'sallyport-seal',
} as const;

/** An authority whose key is in the token: the agent's id, or the proxy, and which of its roots. 40 bytes at most (YubiHSM 2). */
export const AUTHORITY_LABEL = /^(?:agt_[0-9a-f]{32}|sallyport-proxy)-[1-9]\d{0,2}$/;

/** A credential's key that was born in the token: the credential's id, and the version that it was made for. */
export const CREDENTIAL_KEY_LABEL = /^crd_[0-9a-f]{32}-[1-9]\d{0,2}$/;

/** The one object of class `kind` and label. Throws hsm_key_missing where there is none, or two. */
export function one(token: Cryptoki, kind: number, label: string): Handle {
  const [handle, second] = find(token, kind, label);
  if (!handle) throw missing(label);
  if (second) throw twice(label);
  return handle;
}

/** The one key of that class and label. Throws hsm_key_missing also where it could leave the token. */
export function confinedKey(token: Cryptoki, kind: number, label: string): Handle {
  return confined(token, one(token, kind, label), label);
}

/** `handle`, of the key `label`. Throws hsm_key_missing where it could leave the token. */
export function confined(token: Cryptoki, handle: Handle, label: string): Handle {
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

/** A key that may be in the token, or sealed in a data object. Throws hsm_key_missing. */
export function heldKey(token: Cryptoki, kind: number, label: string, sealer: Sealer | undefined): HeldKey {
  if (!sealer || find(token, kind, label).length > 0) {
    return { handle: confinedKey(token, kind, label), sealed: undefined };
  }
  const handle = one(token, pkcs11.CKO_DATA, label);
  return { handle, sealed: { sealer, label, value: readAttribute(token, handle, pkcs11.CKA_VALUE) } };
}

export function labelOf(token: Cryptoki, object: Handle): string {
  return readOptional(token, object, pkcs11.CKA_LABEL).toString('utf8');
}

/** The number in a label that is `prefix` and a number. */
export function versionOf(label: string, prefix: string): number | undefined {
  if (!label.startsWith(prefix)) return undefined;
  const digits = /^[1-9]\d{0,8}$/.exec(label.slice(prefix.length))?.[0];
  return digits === undefined ? undefined : Number(digits);
}

/** Labels of the keys of ours that the token holds already. */
export function existingKeys(token: Cryptoki): string[] {
  const fixed: readonly string[] = [LABEL.mac, LABEL.audit, LABEL.intake, LABEL.seal];
  const kinds = [pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_DATA];
  const labels = kinds.flatMap((kind) => find(token, kind).map((handle) => labelOf(token, handle)));
  const ours = labels.filter(
    (label) =>
      fixed.includes(label) ||
      AUTHORITY_LABEL.test(label) ||
      CREDENTIAL_KEY_LABEL.test(label) ||
      [LABEL.kek, LABEL.bind].some((prefix) => versionOf(label, prefix) !== undefined),
  );
  return [...new Set(ours)].sort();
}

export function missing(label: string): SallyportError {
  const message = `The token holds no key ${label}: use the token that \`init\` made keys in.`;
  return new SallyportError('hsm_key_missing', message);
}

export function twice(label: string): SallyportError {
  const message = `The token holds two keys ${label}: remove the one that is not ours with the vendor's tool.`;
  return new SallyportError('hsm_key_missing', message);
}

export function foreign(label: string): SallyportError {
  const message = `The key ${label} was made in a way that this version does not know: use the version that made it.`;
  return new SallyportError('hsm_key_missing', message);
}
