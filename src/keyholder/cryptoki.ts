import type { Handle, PKCS11 } from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import type { Mechanisms } from './mechanisms.ts';

/** An open, logged-in session as the plain calls take it: those that work in our own buffers and leave no copies. */
export interface Cryptoki {
  readonly lib: PKCS11;
  readonly session: Handle;
  /** What the token lists. */
  readonly mechanisms: Mechanisms;
  /** Label of a private key that the token was seen to hold: a search that finds nothing is believed only while that is found. */
  readonly witness?: string;
}

/**
 * What a failed PKCS#11 call says about the token (PKCS #11 v3.0, 5.1.6):
 * - `gone`: session, login, objects or device are lost; log in again;
 * - `refused`: the token looked at what it was given and said no;
 * - `unsupported`: it has no such mechanism, or the key may not be used so;
 * - `unclear`: modules answer so for either. SoftHSM says CKR_GENERAL_ERROR to a wrong AAD.
 */
export type Meaning = 'gone' | 'refused' | 'unsupported' | 'unclear';

const MEANINGS: Readonly<Record<string, Meaning>> = {
  CKR_SESSION_HANDLE_INVALID: 'gone',
  CKR_SESSION_CLOSED: 'gone',
  CKR_OBJECT_HANDLE_INVALID: 'gone',
  CKR_KEY_HANDLE_INVALID: 'gone',
  CKR_WRAPPING_KEY_HANDLE_INVALID: 'gone',
  CKR_UNWRAPPING_KEY_HANDLE_INVALID: 'gone',
  CKR_USER_NOT_LOGGED_IN: 'gone',
  CKR_DEVICE_ERROR: 'gone',
  CKR_DEVICE_REMOVED: 'gone',
  CKR_TOKEN_NOT_PRESENT: 'gone',
  CKR_TOKEN_NOT_RECOGNIZED: 'gone',
  CKR_SLOT_ID_INVALID: 'gone',
  CKR_CRYPTOKI_NOT_INITIALIZED: 'gone',
  CKR_OPERATION_ACTIVE: 'gone', // a call before left its operation open: a new session ends it
  CKR_OPERATION_NOT_INITIALIZED: 'gone',
  CKR_AEAD_DECRYPT_FAILED: 'refused',
  CKR_ENCRYPTED_DATA_INVALID: 'refused',
  CKR_ENCRYPTED_DATA_LEN_RANGE: 'refused',
  CKR_WRAPPED_KEY_INVALID: 'refused',
  CKR_WRAPPED_KEY_LEN_RANGE: 'refused',
  CKR_DATA_INVALID: 'refused',
  CKR_DATA_LEN_RANGE: 'refused',
  CKR_PUBLIC_KEY_INVALID: 'refused',
  CKR_MECHANISM_PARAM_INVALID: 'refused',
  CKR_MECHANISM_INVALID: 'unsupported',
  CKR_KEY_FUNCTION_NOT_PERMITTED: 'unsupported',
  CKR_KEY_TYPE_INCONSISTENT: 'unsupported',
  CKR_WRAPPING_KEY_TYPE_INCONSISTENT: 'unsupported',
  CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT: 'unsupported',
  CKR_KEY_NOT_WRAPPABLE: 'unsupported',
  CKR_KEY_UNEXTRACTABLE: 'unsupported',
  CKR_FUNCTION_NOT_SUPPORTED: 'unsupported',
};

/** Values of PKCS #11 v3 that pkcs11js, of v2.40, gives as CKR_VENDOR_DEFINED with their number. */
const LATER: Readonly<Record<string, string>> = { '53': 'CKR_AEAD_DECRYPT_FAILED' };

/**
 * The name of the CKR_ value behind what a call threw; undefined where it was no PKCS#11 failure. pkcs11js throws it as
 * "CKR_X" with a code or, from calls that it does not wrap, as "CKR_X:16".
 */
export function returnValue(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const [, name, number] = /^(CKR_[A-Z0-9_]+)(?::(\d+))?/.exec(error.message) ?? [];
  if (name !== 'CKR_VENDOR_DEFINED') return name;
  return LATER['code' in error ? String(error.code) : (number ?? '')] ?? name;
}

export function meaning(name: string): Meaning {
  return MEANINGS[name] ?? 'unclear';
}

/** The SallyportError for a failed call: hsm_unavailable, hsm_refused or hsm_mechanism_missing. Others stay themselves. */
export function describe(error: unknown, as?: Meaning): unknown {
  const name = returnValue(error);
  if (name === undefined) return error;
  const options = { cause: error };
  switch (as ?? meaning(name)) {
    case 'refused':
      return new SallyportError(
        'hsm_refused',
        meaning(name) === 'refused'
          ? `The HSM refused the operation (${name}): check that what it was given is of this token and unchanged.`
          : `The HSM works, but not for this (${name}): what it was given was changed, or it has no room or right for it.`,
        options,
      );
    case 'unsupported':
      return new SallyportError(
        'hsm_mechanism_missing',
        `The token cannot do this with its key (${name}): \`sallyport hsm check\` tells what it can.`,
        options,
      );
    default:
      return new SallyportError(
        'hsm_unavailable',
        `The HSM does not answer (${name}): check that the token is there and its module works.`,
        options,
      );
  }
}

/** Reads one attribute of an object, as bytes. Throws what the call throws. */
export function readAttribute({ lib, session }: Cryptoki, object: Handle, type: number): Buffer {
  const [attribute] = lib.C_GetAttributeValue(session, object, [{ type }]);
  return attribute?.value ?? Buffer.alloc(0);
}
