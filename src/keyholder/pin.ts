import { readSync } from 'node:fs';
import type { Session } from 'graphene-pk11';
import { SallyportError } from '../errors.ts';
import { returnValue } from './cryptoki.ts';

const MAX_PIN = 256;
/** Of SoftHSM, which lets everybody guess for ever. */
export const SHORTEST_PIN = 16;
const WRONG = new Set(['CKR_PIN_INCORRECT', 'CKR_PIN_INVALID', 'CKR_PIN_LEN_RANGE', 'CKR_PIN_EXPIRED']);

/**
 * Reads the PIN from descriptor `fd`, a file that whoever started us opened, without its trailing newline. It is read
 * at position 0, so that it can be read again for the next login and need not be kept. A pipe gives it once.
 * The caller wipes it. Throws hsm_pin_missing.
 */
export function readPin(fd: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(MAX_PIN + 2);
  try {
    let length = readAll(fd, bytes);
    if (bytes[length - 1] === 0x0a) length--;
    if (bytes[length - 1] === 0x0d) length--;
    if (length === 0)
      throw new SallyportError('hsm_pin_missing', 'The PIN file is empty: put the PIN into it.');
    if (length > MAX_PIN) {
      const message = `The PIN file holds more than ${MAX_PIN} bytes: put nothing but the PIN into it.`;
      throw new SallyportError('hsm_pin_missing', message);
    }
    const pin = Buffer.allocUnsafeSlow(length);
    bytes.copy(pin, 0, 0, length);
    return pin;
  } finally {
    bytes.fill(0);
  }
}

function readAll(fd: number, into: Buffer): number {
  let filled = 0;
  let seekable = true;
  while (filled < into.length) {
    try {
      const count = readSync(fd, into, filled, into.length - filled, seekable ? filled : null);
      if (count === 0) break;
      filled += count;
    } catch (cause) {
      if (seekable && isPipe(cause)) {
        seekable = false;
        continue;
      }
      throw new SallyportError('hsm_pin_missing', 'The PIN file cannot be read: name it with --pin-file.', {
        cause,
      });
    }
  }
  return filled;
}

function isPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ESPIPE';
}

/**
 * Logs the user in with the PIN on descriptor `pinFd`. A wrong PIN is tried once: tokens lock after a few. Where
 * somebody is logged in already the answer says nothing about the PIN, so that login is ended and ours made.
 * Throws hsm_pin_missing, hsm_pin_wrong, and what the calls throw.
 */
export function login(session: Session, pinFd: number): void {
  const bytes = readPin(pinFd);
  try {
    const pin = bytes.toString('utf8'); // pkcs11js takes a string; it lives until it is overwritten
    try {
      session.login(pin);
    } catch (error) {
      if (returnValue(error) !== 'CKR_USER_ALREADY_LOGGED_IN') throw error;
      session.logout();
      session.login(pin);
    }
  } catch (error) {
    throw describePin(error);
  } finally {
    bytes.fill(0);
  }
}

/** For a PIN that the token has refused before: whoever tries it again may lock the token. */
export function refusedBefore(): SallyportError {
  const message =
    'The token has refused the PIN, which is not tried again: put the right one into the PIN file.';
  return new SallyportError('hsm_pin_wrong', message);
}

function describePin(error: unknown): unknown {
  const name = returnValue(error);
  if (name === 'CKR_PIN_LOCKED') {
    const message =
      "The token's PIN is locked after too many wrong ones: unlock it with its security officer's PIN.";
    return new SallyportError('hsm_pin_wrong', message, { cause: error });
  }
  if (name === 'CKR_USER_PIN_NOT_INITIALIZED') {
    const message = "The token has no user PIN yet: set one with the vendor's tool.";
    return new SallyportError('hsm_pin_wrong', message, { cause: error });
  }
  if (name !== undefined && WRONG.has(name)) {
    const message = `The token refused the PIN (${name}): put the right one into the PIN file.`;
    return new SallyportError('hsm_pin_wrong', message, { cause: error });
  }
  return error;
}
