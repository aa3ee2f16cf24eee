import pkcs11, { type Handle, type PKCS11 } from 'pkcs11js';

/** How a token offers one mechanism: CKF_ flags, the largest key in the unit of that mechanism. */
export interface Offer {
  readonly flags: number;
  readonly maxKeySize: number;
}

/** By CKM_ value, as C_GetMechanismList and C_GetMechanismInfo tell. */
export type Mechanisms = ReadonlyMap<number, Offer>;

/** What every installation asks of its token, whatever else it can do. */
export const BASICS: readonly (readonly [what: string, mechanism: number])[] = [
  ['EC key pairs', pkcs11.CKM_EC_KEY_PAIR_GEN],
  ['ECDSA', pkcs11.CKM_ECDSA],
];

/** PKCS #11 v3.0: RFC 5649 without the doubt that hung on CKM_AES_KEY_WRAP_PAD before. */
export const CKM_AES_KEY_WRAP_KWP = 0x210b;
export const CKM_CLOUDHSM_AES_GCM = 0x80001087;
export const CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD = 0x8000216f;
export const CKM_YUBICO_AES_CCM_WRAP = 0xd9554204;

const NAMES = new Map<number, string>([
  ...Object.entries(pkcs11).flatMap(([name, value]): [number, string][] =>
    name.startsWith('CKM_') && typeof value === 'number' ? [[value, name]] : [],
  ),
  [0x1055, 'CKM_EC_EDWARDS_KEY_PAIR_GEN'],
  [0x1057, 'CKM_EDDSA'],
  [CKM_AES_KEY_WRAP_KWP, 'CKM_AES_KEY_WRAP_KWP'],
  [CKM_CLOUDHSM_AES_GCM, 'CKM_CLOUDHSM_AES_GCM'],
  [CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD, 'CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD'],
  [CKM_YUBICO_AES_CCM_WRAP, 'CKM_YUBICO_AES_CCM_WRAP'],
]);

/** `CKM_AES_GCM`, or the number in hex where it has no name here. */
export function mechanismName(mechanism: number): string {
  return NAMES.get(mechanism) ?? `0x${mechanism.toString(16)}`;
}

/** Throws what the calls throw. */
export function readMechanisms(lib: PKCS11, slot: Handle): Mechanisms {
  return new Map(
    lib.C_GetMechanismList(slot).map((mechanism) => {
      const { flags, maxKeySize } = lib.C_GetMechanismInfo(slot, mechanism);
      return [mechanism, { flags, maxKeySize }];
    }),
  );
}
