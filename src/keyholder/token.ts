import graphene, { type Module, type Slot } from 'graphene-pk11';
import pkcs11 from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { type Cryptoki, returnValue } from './cryptoki.ts';
import { listedAbilities } from './held-key.ts';
import { LABEL } from './key-objects.ts';
import { findKeys, type Keys } from './keys.ts';
import { BASICS, type Mechanisms, readMechanisms } from './mechanisms.ts';
import { type OwnKeys, requireOwn, requireOwnShown } from './own-token.ts';
import { login } from './pin.ts';
import { sealingWays } from './sealer.ts';
import { selfTest } from './self-test.ts';

/** Which token: the module's path as given, the token's label, and its serial where two carry that label. */
export interface Place {
  readonly module: string;
  readonly token: string;
  readonly serial: string | undefined;
  /** Whose it is, where that is known. */
  readonly own?: OwnKeys;
}

/** What C_GetTokenInfo says of the token, padding removed. */
export interface Maker {
  readonly manufacturer: string;
  readonly model: string;
  readonly firmware: string;
}

/** SoftHSM has the interface of an HSM, not the protection of hardware. */
export function isSoftware({ manufacturer }: Maker): boolean {
  return manufacturer.startsWith('SoftHSM');
}

/** A token with a logged-in session. */
export interface OpenToken extends Cryptoki {
  readonly place: Place;
  readonly serial: string;
  readonly maker: Maker;
  /** Ends the session, the login and the library: what comes next starts anew. */
  close(): void;
}

/** A token whose keys are found and proven. */
export interface Token extends OpenToken {
  /** Replaced as KEK versions come and go. */
  keys: Keys;
}

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
 * Starts the library, opens a session with the token and logs in. `check` sees what the token offers before anybody
 * logs in. Throws hsm_token_missing, hsm_token_wrong, hsm_pin_missing, hsm_pin_wrong, hsm_mechanism_missing, and what the calls throw;
 * nothing stays open then.
 */
export function openToken(
  module: Module,
  place: Place,
  pinFd: number,
  check: (mechanisms: Mechanisms, place: Place) => void = requireBasics,
): OpenToken {
  try {
    startLibrary(module);
    const { slot, serial, maker } = findSlot(module, place);
    const mechanisms = readMechanisms(module.lib, slot.handle);
    check(mechanisms, place);
    const session = slot.open(graphene.SessionFlag.RW_SESSION | graphene.SessionFlag.SERIAL_SESSION);
    const cryptoki = { lib: module.lib, session: session.handle, mechanisms };
    requireOwnShown(cryptoki, serial, place.own);
    login(session, pinFd);
    return {
      ...cryptoki,
      place,
      serial,
      maker,
      close: () => endLibrary(module),
    };
  } catch (error) {
    endLibrary(module);
    throw error;
  }
}

function requireBasics(mechanisms: Mechanisms, place: Place): void {
  const { hmac, ecdh } = listedAbilities(mechanisms);
  const sealing = sealingWays(mechanisms).length > 0;
  const lacking = [
    ...BASICS.flatMap(([what, mechanism]) => (mechanisms.has(mechanism) ? [] : [what])),
    ...(hmac || sealing ? [] : ['HMAC-SHA-256']),
    ...(ecdh || sealing ? [] : ['ECDH']),
  ];
  for (const what of lacking) {
    const message = `The token ${place.token} has no ${what}: use a token that has it. \`sallyport hsm check\` tells more.`;
    throw new SallyportError('hsm_mechanism_missing', message);
  }
}

/**
 * The open token with its keys, found, known for its own and tried out. Throws hsm_key_missing, hsm_token_wrong,
 * hsm_refused, and what the calls throw.
 */
export function proveKeys(open: OpenToken): Token {
  const token = { ...open, keys: findKeys(open), witness: LABEL.audit };
  requireOwn(token.keys, open.serial, open.place.own);
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

/** A slot whose token is initialised. */
export interface Found {
  readonly slot: Slot;
  readonly label: string;
  readonly serial: string;
  readonly maker: Maker;
}

/** The one slot whose token carries the label (and serial). Throws hsm_token_missing. */
function findSlot(module: Module, place: Place): Found {
  const found = slotsWithTokens(module).filter(
    ({ label, serial }) => label === place.token && (place.serial === undefined || serial === place.serial),
  );
  const [first, second] = found;
  if (!first) {
    const message = `The module ${place.module} shows no token ${place.token}: plug it in, or name another with --pkcs11-token.`;
    throw new SallyportError('hsm_token_missing', message);
  }
  if (second) {
    const message = `Two tokens carry the label ${place.token}: say which with its serial number (--pkcs11-serial).`;
    throw new SallyportError('hsm_token_missing', message);
  }
  return first;
}

/** Every slot whose token is initialised. Slots that fail to tell are passed over: readers come and go. */
export function slotsWithTokens(module: Module): Found[] {
  const found: Found[] = [];
  for (const handle of module.lib.C_GetSlotList(true)) {
    try {
      const slot = new graphene.Slot(handle, module, module.lib);
      const { label, serialNumber, flags, manufacturerID, model, firmwareVersion } = slot.getToken();
      if (!(flags & graphene.TokenFlag.TOKEN_INITIALIZED)) continue;
      const firmware = `${firmwareVersion.major}.${firmwareVersion.minor}`;
      const maker = { manufacturer: manufacturerID.trim(), model: model.trim(), firmware };
      found.push({ slot, label, serial: serialNumber, maker });
    } catch (error) {
      if (returnValue(error) === undefined) throw error;
    }
  }
  return found;
}
