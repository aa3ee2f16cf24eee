import pkcs11, { type Handle } from 'pkcs11js';
import type { KeyholderInfo } from '../channel/messages/keyholder.ts';
import { readAttribute } from './cryptoki.ts';
import { LABEL, readFlag } from './keys.ts';
import type { Token } from './token.ts';

/** What the token and its keys are, attributes as the token itself reports them. Throws what the calls throw. */
export function info(token: Token): KeyholderInfo {
  const { keys, place, serial, profile } = token;
  const own: [string, Handle][] = [
    ...[...keys.keks].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true })),
    [LABEL.mac, keys.mac],
    [LABEL.audit, keys.audit],
    [LABEL.intake, keys.intake],
  ];
  return {
    module: place.module,
    token: place.token,
    serial,
    kek: keys.newestKek,
    profile: profile.name,
    keys: own.map(([label, handle]) => ({
      label,
      type: keyType(token, handle),
      // What the token does not tell is taken for the worse.
      extractable: readFlag(token, handle, pkcs11.CKA_EXTRACTABLE, true),
      sensitive: readFlag(token, handle, pkcs11.CKA_SENSITIVE, false),
      neverExtractable: readFlag(token, handle, pkcs11.CKA_NEVER_EXTRACTABLE, false),
      local: readFlag(token, handle, pkcs11.CKA_LOCAL, false),
    })),
    intakePublicKey: keys.intakePublic.toString('hex'),
    auditPublicKey: keys.auditPublic.toString('hex'),
  };
}

function keyType(token: Token, handle: Handle): string {
  const bytes = readAttribute(token, handle, pkcs11.CKA_KEY_TYPE);
  const type = bytes.length >= 4 ? bytes.readUInt32LE(0) : -1; // CK_ULONG, in the order of the machine
  switch (type) {
    case pkcs11.CKK_AES:
      return `AES-${readAttribute(token, handle, pkcs11.CKA_VALUE_LEN).readUInt32LE(0) * 8}`;
    case pkcs11.CKK_GENERIC_SECRET:
      return 'HMAC-SHA-256';
    case pkcs11.CKK_EC:
      return 'EC P-256';
    default:
      return `key type ${type}`;
  }
}
