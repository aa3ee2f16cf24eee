import pkcs11, { type Handle } from 'pkcs11js';
import { type Cryptoki, readAttribute } from './cryptoki.ts';

/**
 * Objects of class `kind` and, where given, `label`. A token that was taken away may find nothing and call that success
 * (SoftHSM does): that is no answer, and becomes the failure that it should have been. Throws what the calls throw.
 */
export function find(token: Cryptoki, kind: number, label?: string): Handle[] {
  const found = search(token, kind, label);
  const { witness } = token;
  if (
    found.length === 0 &&
    witness !== undefined &&
    search(token, pkcs11.CKO_PRIVATE_KEY, witness).length === 0
  )
    throw new Error('CKR_TOKEN_NOT_PRESENT');
  return found;
}

/** The same, as the module answers. */
export function search({ lib, session }: Cryptoki, kind: number, label?: string): Handle[] {
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

/** Reads an attribute that not every token has; empty where it does not. Throws what else the call throws. */
export function readOptional(token: Cryptoki, object: Handle, type: number): Buffer {
  try {
    return readAttribute(token, object, type);
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('CKR_ATTRIBUTE_TYPE_INVALID'))
      return Buffer.alloc(0);
    throw error;
  }
}

/** Reads a boolean attribute; `unknown` where the token does not have it. */
export function readFlag(token: Cryptoki, object: Handle, type: number, unknown: boolean): boolean {
  const value = readOptional(token, object, type);
  return value.length === 0 ? unknown : value[0] !== 0;
}

/** Reads a CK_ULONG, in the order of the machine; -1 where the token does not have it. */
export function readNumber(token: Cryptoki, object: Handle, type: number): number {
  const value = readOptional(token, object, type);
  return value.length >= 4 ? value.readUInt32LE(0) : -1;
}
