import pkcs11, { type Handle, type KeyPair, type Template } from 'pkcs11js';
import { type Cryptoki, returnValue } from './cryptoki.ts';

const P256 = Buffer.from('06082a8648ce3d030107', 'hex'); // DER of OID 1.2.840.10045.3.1.7
const OPTIONAL = new Set([
  'CKR_TEMPLATE_INCONSISTENT',
  'CKR_ATTRIBUTE_TYPE_INVALID',
  'CKR_ATTRIBUTE_VALUE_INVALID',
  'CKR_ATTRIBUTE_READ_ONLY',
]);

const KEPT: Template = [
  { type: pkcs11.CKA_TOKEN, value: true },
  { type: pkcs11.CKA_PRIVATE, value: true },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_EXTRACTABLE, value: false },
];

/** Makes a 256-bit secret key in the token: stored, private, sensitive, not extractable, and what `template` adds. */
export function generateSecretKey({ lib, session }: Cryptoki, mechanism: number, template: Template): Handle {
  const whole: Template = [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_VALUE_LEN, value: 32 },
    ...KEPT,
    { type: pkcs11.CKA_WRAP, value: false },
    { type: pkcs11.CKA_UNWRAP, value: false },
    ...template,
  ];
  return unmodifiable((fixed) => lib.C_GenerateKey(session, { mechanism }, [...whole, ...fixed]));
}

/** Makes a P-256 pair in the token whose private half may do `use` (CKA_SIGN or CKA_DERIVE) and nothing else. */
export function generatePair({ lib, session }: Cryptoki, label: string, use: number): KeyPair {
  const named = [
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
    { type: pkcs11.CKA_LABEL, value: label },
    { type: pkcs11.CKA_ID, value: Buffer.from(label) },
  ];
  const open: Template = [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_PRIVATE, value: false },
    { type: pkcs11.CKA_EC_PARAMS, value: P256 },
    { type: pkcs11.CKA_VERIFY, value: use === pkcs11.CKA_SIGN },
    { type: pkcs11.CKA_ENCRYPT, value: false },
    { type: pkcs11.CKA_WRAP, value: false },
    ...named,
  ];
  const closed: Template = [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
    ...KEPT,
    { type: pkcs11.CKA_SIGN, value: use === pkcs11.CKA_SIGN },
    { type: pkcs11.CKA_DERIVE, value: use === pkcs11.CKA_DERIVE },
    { type: pkcs11.CKA_DECRYPT, value: false },
    { type: pkcs11.CKA_UNWRAP, value: false },
    ...named,
  ];
  const mechanism = { mechanism: pkcs11.CKM_EC_KEY_PAIR_GEN };
  return unmodifiable((fixed) =>
    lib.C_GenerateKeyPair(session, mechanism, [...open, ...fixed], [...closed, ...fixed]),
  );
}

/** Not every token lets CKA_MODIFIABLE be set: those get the key without it. */
function unmodifiable<T>(generate: (fixed: Template) => T): T {
  try {
    return generate([{ type: pkcs11.CKA_MODIFIABLE, value: false }]);
  } catch (error) {
    const name = returnValue(error);
    if (name === undefined || !OPTIONAL.has(name)) throw error;
    return generate([]);
  }
}
