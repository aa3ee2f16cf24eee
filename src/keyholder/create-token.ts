import { randomBytes } from 'node:crypto';
import graphene, { type Module, type Slot } from 'graphene-pk11';
import pkcs11 from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { returnValue } from './cryptoki.ts';
import { readPin, SHORTEST_PIN } from './pin.ts';
import { endLibrary, slotsWithTokens, startLibrary } from './token.ts';

const LABEL_BYTES = 32;

/**
 * Makes a token `label` in a free slot of SoftHSM whose user PIN is the one on descriptor `pinFd`. The security
 * officer's PIN is random and kept nowhere: nobody can set the user's PIN anew. Other modules are refused: on hardware
 * that PIN is worth keeping. Throws already_exists, hsm_token_missing, invalid_argument, hsm_pin_missing, and what the
 * calls throw.
 */
export function createToken(module: Module, label: string, pinFd: number): void {
  if (!/^[\x21-\x7e]{1,32}$/.test(label)) {
    const message = `A token's label has 1 to ${LABEL_BYTES} printable ASCII characters: choose another.`;
    throw new SallyportError('invalid_argument', message);
  }
  const bytes = readPin(pinFd);
  try {
    startLibrary(module);
    if (bytes.length < SHORTEST_PIN) {
      const message = `The PIN of a new token has at least ${SHORTEST_PIN} characters: SoftHSM never locks, so a short one is found.`;
      throw new SallyportError('invalid_argument', message);
    }
    if (slotsWithTokens(module).some((token) => token.label === label)) {
      throw new SallyportError('already_exists', `A token ${label} is there already: choose another label.`);
    }
    initialise(freeSlot(module), label, bytes.toString('utf8'));
  } finally {
    bytes.fill(0);
    endLibrary(module);
  }
}

function initialise(slot: Slot, label: string, pin: string): void {
  const officerPin = randomBytes(32).toString('base64url');
  // A module reads 32 bytes of label; pkcs11js passes on as many as it is given. graphene's own call fails on its answer.
  slot.lib.C_InitToken(slot.handle, officerPin, label.padEnd(LABEL_BYTES, ' '));
  const session = slot.open(graphene.SessionFlag.RW_SESSION | graphene.SessionFlag.SERIAL_SESSION);
  session.login(officerPin, graphene.UserType.SO);
  session.initPin(pin);
  session.logout();
  session.close();
}

function freeSlot(module: Module): Slot {
  for (const handle of module.lib.C_GetSlotList(true)) {
    try {
      const slot = new graphene.Slot(handle, module, module.lib);
      const token = slot.getToken();
      if (token.flags & pkcs11.CKF_TOKEN_INITIALIZED) continue;
      if (token.manufacturerID.startsWith('SoftHSM')) return slot;
    } catch (error) {
      if (returnValue(error) === undefined) throw error;
    }
  }
  throw new SallyportError(
    'hsm_token_missing',
    "The module has no free SoftHSM slot to make a token in: make one with the vendor's tool and name it with --pkcs11-token.",
  );
}
