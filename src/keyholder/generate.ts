import pkcs11, { type Handle, type KeyPair, type Template } from 'pkcs11js';
import { type Cryptoki, returnValue } from './cryptoki.ts';

const P256 = Buffer.from('06082a8648ce3d030107', 'hex'); // DER of OID 1.2.840.10045.3.1.7
/** What tokens say to an attribute that they do not let be said. */
const DISLIKED = new Set([
  'CKR_GENERAL_ERROR', // tpm2-pkcs11
  'CKR_FUNCTION_FAILED',
  'CKR_TEMPLATE_INCONSISTENT',
  'CKR_TEMPLATE_INCOMPLETE',
  'CKR_ATTRIBUTE_TYPE_INVALID',
  'CKR_ATTRIBUTE_VALUE_INVALID',
  'CKR_ATTRIBUTE_READ_ONLY',
]);

/**
 * How much a template says, in the order tried: with CKA_MODIFIABLE false; without; and without the uses that are not
 * allowed, which tpm2-pkcs11 wants to decide itself.
 */
const MANNERS: readonly ((whole: Template) => Template)[] = [
  (whole) => [...whole, { type: pkcs11.CKA_MODIFIABLE, value: false }],
  (whole) => whole,
  (whole) => whole.filter(({ type, value }) => value !== false || !USES.includes(type)),
];

/** What a new key is called, and whether the token keeps it or it ends with its session. */
export interface Naming {
  readonly label: string;
  /** CKA_ID, two bytes: a YubiHSM 2 takes them for the object's own number. */
  readonly id: Buffer;
  readonly stored: boolean;
}

function named({ label, id, stored }: Naming): Template {
  return [
    { type: pkcs11.CKA_TOKEN, value: stored },
    { type: pkcs11.CKA_LABEL, value: label },
    { type: pkcs11.CKA_ID, value: id },
  ];
}

const CONFINED: Template = [
  { type: pkcs11.CKA_PRIVATE, value: true },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_EXTRACTABLE, value: false },
];

/** Attributes for what a key may do, which are false unless asked for. */
const USES: readonly number[] = [
  pkcs11.CKA_ENCRYPT,
  pkcs11.CKA_DECRYPT,
  pkcs11.CKA_WRAP,
  pkcs11.CKA_UNWRAP,
  pkcs11.CKA_SIGN,
  pkcs11.CKA_VERIFY,
  pkcs11.CKA_DERIVE,
];
const SECRET_USES = USES.filter((type) => type !== pkcs11.CKA_DERIVE);

function uses(those: readonly number[]): Template {
  return SECRET_USES.map((type) => ({ type, value: those.includes(type) }));
}

/**
 * Makes a secret key of `keyType` that may do `may` (CKA_ENCRYPT and the like) and nothing else: private, sensitive, not
 * extractable. `length`: in bytes, where its type does not say. Throws what the calls throw.
 */
export function generateSecretKey(
  { lib, session }: Cryptoki,
  mechanism: number,
  naming: Naming,
  keyType: number,
  may: readonly number[],
  length: number | undefined,
): Handle {
  const whole: Template = [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: keyType },
    ...(length === undefined ? [] : [{ type: pkcs11.CKA_VALUE_LEN, value: length }]),
    ...named(naming),
    ...CONFINED,
    ...uses(may),
  ];
  return firstLiked(MANNERS, (say) => lib.C_GenerateKey(session, { mechanism }, say(whole)));
}

/** Makes an AES-256 key that may do `may`. */
export function generateAesKey(token: Cryptoki, naming: Naming, may: readonly number[]): Handle {
  return generateSecretKey(token, pkcs11.CKM_AES_KEY_GEN, naming, pkcs11.CKK_AES, may, 32);
}

/** Makes a 256-bit key for HMAC-SHA-256. Most tokens take it for a generic secret, YubiHSM's only as of its own type. */
export function generateHmacKey(token: Cryptoki, naming: Naming): Handle {
  const kinds: [keyType: number, length: number | undefined][] = [
    [pkcs11.CKK_GENERIC_SECRET, 32],
    [pkcs11.CKK_SHA256_HMAC, undefined],
  ];
  return firstLiked(kinds, ([keyType, length]) => {
    const may = [pkcs11.CKA_SIGN, pkcs11.CKA_VERIFY];
    return generateSecretKey(token, pkcs11.CKM_GENERIC_SECRET_KEY_GEN, naming, keyType, may, length);
  });
}

/** Makes a P-256 pair whose private half may do `use` (CKA_SIGN or CKA_DERIVE) and nothing else. */
export function generateEcPair(token: Cryptoki, naming: Naming, use: number): KeyPair {
  const curve = { type: pkcs11.CKA_EC_PARAMS, value: P256 };
  return generatePair(token, pkcs11.CKM_EC_KEY_PAIR_GEN, naming, pkcs11.CKK_EC, use, [curve]);
}

/** Makes an RSA pair of `bits` whose private half may do `use` (CKA_DECRYPT or CKA_SIGN) and nothing else. */
export function generateRsaPair(
  token: Cryptoki,
  naming: Naming,
  bits: number,
  use: number = pkcs11.CKA_DECRYPT,
): KeyPair {
  return generatePair(token, pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, naming, pkcs11.CKK_RSA, use, [
    { type: pkcs11.CKA_MODULUS_BITS, value: bits },
    { type: pkcs11.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
  ]);
}

function generatePair(
  { lib, session }: Cryptoki,
  mechanism: number,
  naming: Naming,
  keyType: number,
  use: number,
  shape: Template,
): KeyPair {
  const type = { type: pkcs11.CKA_KEY_TYPE, value: keyType };
  const open: Template = [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
    type,
    ...shape,
    ...named(naming),
    { type: pkcs11.CKA_PRIVATE, value: false },
    { type: pkcs11.CKA_VERIFY, value: use === pkcs11.CKA_SIGN },
    { type: pkcs11.CKA_ENCRYPT, value: use === pkcs11.CKA_DECRYPT },
    { type: pkcs11.CKA_WRAP, value: false },
  ];
  const closed: Template = [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
    type,
    ...named(naming),
    ...CONFINED,
    { type: pkcs11.CKA_SIGN, value: use === pkcs11.CKA_SIGN },
    { type: pkcs11.CKA_DERIVE, value: use === pkcs11.CKA_DERIVE },
    { type: pkcs11.CKA_DECRYPT, value: use === pkcs11.CKA_DECRYPT },
    { type: pkcs11.CKA_UNWRAP, value: false },
  ];
  return firstLiked(MANNERS, (say) => lib.C_GenerateKeyPair(session, { mechanism }, say(open), say(closed)));
}

/** Tries `choices` in order until the token takes one: templates are where tokens differ most. */
export function firstLiked<C, T>(choices: readonly C[], generate: (choice: C) => T): T {
  let disliked: unknown;
  for (const choice of choices) {
    try {
      return generate(choice);
    } catch (error) {
      if (!DISLIKED.has(returnValue(error) ?? '')) throw error;
      disliked = error;
    }
  }
  throw disliked;
}
