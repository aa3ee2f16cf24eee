import graphene, { type Module, type Slot } from 'graphene-pk11';
import pkcs11 from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { type Cryptoki, returnValue } from './cryptoki.ts';
import { findKeys, type Keys } from './keys.ts';
import { login } from './pin.ts';
import type { Profile } from './profiles/profile.ts';
import { chooseProfile } from './profiles/registry.ts';
import { selfTest } from './self-test.ts';

/** Which token: the module's path as given, the token's label, and its serial where two carry that label. */
export interface Place {
  readonly module: string;
  readonly token: string;
  readonly serial: string | undefined;
}

/** A token with a logged-in session. */
export interface OpenToken extends Cryptoki {
  readonly place: Place;
  readonly serial: string;
  readonly profile: Profile;
  /** Ends the session, the login and the library: what comes next starts anew. */
  close(): void;
}

/** A token whose keys are found and proven. */
export interface Token extends OpenToken {
  readonly keys: Keys;
}

const MECHANISMS = [
  ['HMAC-SHA-256', pkcs11.CKM_SHA256_HMAC],
  ['ECDSA', pkcs11.CKM_ECDSA],
  ['ECDH', pkcs11.CKM_ECDH1_DERIVE],
] as const;

/** Loads the PKCS#11 module; once in a process. Throws hsm_module_missing. */
export function loadModule(path: string): Module {
  try {
    return graphene.Module.load(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
    throw new SallyportError(
      'hsm_module_missing',
      `The PKCS#11 module ${path} cannot be loaded (${reason}): install it, or name another with --pkcs11-module.`,
      { cause },
    );
  }
}

/**
 * Starts the library, opens a session with the token and logs in. Throws hsm_token_missing, hsm_pin_missing,
 * hsm_pin_wrong, hsm_mechanism_missing, and what the calls throw; nothing stays open then.
 */
export function openToken(module: Module, place: Place, pinFd: number): OpenToken {
  try {
    startLibrary(module);
    const { slot, serial } = findSlot(module, place);
    const mechanisms = new Set(module.lib.C_GetMechanismList(slot.handle));
    const profile = chooseProfile(mechanisms);
    for (const [name, mechanism] of MECHANISMS) {
      if (mechanisms.has(mechanism)) continue;
      const message = `The token ${place.token} has no ${name}: use a token that has it.`;
      throw new SallyportError('hsm_mechanism_missing', message);
    }
    const session = slot.open(graphene.SessionFlag.RW_SESSION | graphene.SessionFlag.SERIAL_SESSION);
    login(session, pinFd);
    return {
      lib: module.lib,
      session: session.handle,
      place,
      serial,
      profile,
      close: () => endLibrary(module),
    };
  } catch (error) {
    endLibrary(module);
    throw error;
  }
}

/** The open token with its keys, found and tried out. Throws hsm_key_missing, hsm_refused, and what the calls throw. */
export function proveKeys(open: OpenToken): Token {
  const token = { ...open, keys: findKeys(open) };
  selfTest(token);
  return token;
}

/** graphene would take CKR_CRYPTOKI_ALREADY_INITIALIZED for success and pass no locking flag of its own. */
export function startLibrary(module: Module): void {
  module.initialize({ flags: pkcs11.CKF_OS_LOCKING_OK });
}

/** Ends sessions and login with the library. A module that fails here is gone as much as it can be. */
export function endLibrary(module: Module): void {
  try {
    module.finalize();
  } catch (error) {
    if (returnValue(error) === undefined) throw error;
  }
}

/** The one slot whose token carries the label (and serial). Throws hsm_token_missing. */
function findSlot(module: Module, place: Place): { slot: Slot; serial: string } {
  const found = slotsWithTokens(module).filter(
    ({ label, serial }) => label === place.token && (place.serial === undefined || serial === place.serial),
  );
  const [first, second] = found;
  if (!first) {
    const message = `The module ${place.module} shows no token ${place.token}: plug it in, or name another with --pkcs11-token.`;
    throw new SallyportError('hsm_token_missing', message);
  }
  if (second) {
    const message = `Two tokens carry the label ${place.token}: say which with its serial number.`;
    throw new SallyportError('hsm_token_missing', message);
  }
  return first;
}

/** Every slot whose token is initialised. Slots that fail to tell are passed over: readers come and go. */
export function slotsWithTokens(module: Module): { slot: Slot; label: string; serial: string }[] {
  const found: { slot: Slot; label: string; serial: string }[] = [];
  for (const handle of module.lib.C_GetSlotList(true)) {
    try {
      const slot = new graphene.Slot(handle, module, module.lib);
      const { label, serialNumber, flags } = slot.getToken();
      if (flags & graphene.TokenFlag.TOKEN_INITIALIZED) found.push({ slot, label, serial: serialNumber });
    } catch (error) {
      if (returnValue(error) === undefined) throw error;
    }
  }
  return found;
}
