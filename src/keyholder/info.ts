import pkcs11, { type Handle } from 'pkcs11js';
import type { KeyholderInfo } from '../channel/messages/keyholder.ts';
import { authorityKeys } from './authorities.ts';
import { credentialKeys } from './credential-keys.ts';
import { readFlag, readNumber, readOptional } from './find.ts';
import type { HeldKey } from './held-key.ts';
import { bindLabel } from './keks.ts';
import { LABEL } from './key-objects.ts';
import { mechanismName } from './mechanisms.ts';
import { isSoftware, type Token } from './token.ts';

/** What the token and its keys are, attributes as the token itself reports them. Throws what the calls throw. */
export function info(token: Token): KeyholderInfo {
  const { keys, place, serial, maker, mechanisms } = token;
  const whole = (handle: Handle): HeldKey => ({ handle, sealed: undefined });
  const own: [string, HeldKey, sealedType: string][] = [
    ...[...keys.keks.values()].flatMap(({ label, number, key, bind }): typeof own => [
      [label, whole(key), ''],
      ...(bind ? ([[bindLabel(number), bind, 'HMAC-SHA-256']] satisfies typeof own) : []),
    ]),
    [LABEL.mac, keys.mac, 'HMAC-SHA-256'],
    [LABEL.audit, whole(keys.audit), ''],
    [LABEL.intake, keys.intake, 'EC P-256'],
    ...[...authorityKeys(token), ...credentialKeys(token)].map(([label, key]): (typeof own)[number] => [
      label,
      whole(key),
      '',
    ]),
    ...(keys.sealer ? ([[LABEL.seal, whole(keys.sealer.key), '']] satisfies typeof own) : []),
  ];
  return {
    module: place.module,
    token: place.token,
    serial,
    ...maker,
    software: isSoftware(maker),
    mechanisms: [...mechanisms.keys()].map(mechanismName).sort(),
    kek: keys.newest.label,
    profile: keys.newest.profile.name,
    keys: own.map(([label, { handle, sealed }, sealedType]) => ({
      label,
      id: readOptional(token, handle, pkcs11.CKA_ID).toString('hex'),
      type: sealed ? `${sealedType}, sealed to ${LABEL.seal}` : keyType(token, handle),
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
  const type = readNumber(token, handle, pkcs11.CKA_KEY_TYPE);
  switch (type) {
    case pkcs11.CKK_AES:
      return `AES-${readNumber(token, handle, pkcs11.CKA_VALUE_LEN) * 8}`;
    case pkcs11.CKK_GENERIC_SECRET:
    case pkcs11.CKK_SHA256_HMAC:
      return 'HMAC-SHA-256';
    case pkcs11.CKK_EC:
      return 'EC P-256';
    case pkcs11.CKK_RSA:
      return `RSA-${readOptional(token, handle, pkcs11.CKA_MODULUS).length * 8}`;
    default:
      return `key type 0x${type.toString(16)}`;
  }
}
