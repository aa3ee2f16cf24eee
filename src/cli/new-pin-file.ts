import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { SallyportError } from '../errors.ts';
import { note } from './output.ts';
import { newPin } from './pin.ts';

/** A PIN has 256 bytes at most, and a line break behind it. */
const MOST_BYTES = 258;

/**
 * Where the new PIN lies from before the token learns it until it takes the old one's place: beside it, so that this is one
 * rename(2), on whatever filesystem a given file was. It is there whole or not at all.
 */
export function stagedFor(pinFile: string): string {
  return `${pinFile}.new`;
}

/**
 * Puts the PIN of the file `given`, or a new one, beside `pinFile`: with its owner, for nobody else. Where an earlier call
 * has left one there that one stays, since the token may have learnt it. Throws hsm_pin_missing, invalid_argument.
 */
export function stageNewPin(pinFile: string, given: string | undefined): void {
  const staged = stagedFor(pinFile);
  const pin = given === undefined ? newPin() : readGiven(given);
  try {
    if (!existsSync(staged)) {
      write(pin, `${staged}.part`, pinFile);
      renameSync(`${staged}.part`, staged);
      syncFolder(staged);
    } else if (given !== undefined && !readFileSync(staged).equals(pin)) {
      const message = `${staged} is of an earlier change that did not end, and the token may have learnt it: run "hsm pin" without --new-pin-file first, which ends that one.`;
      throw new SallyportError('invalid_argument', message);
    } else {
      secure(openSync(staged, 'r'), pinFile);
    }
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause;
    const message = `The new PIN cannot be written to ${staged} (${codeOf(cause)}): nothing was changed. Let this user write there.`;
    throw new SallyportError('hsm_pin_missing', message, { cause });
  } finally {
    pin.fill(0);
  }
}

/** Puts it in the place of the old PIN. Throws hsm_pin_missing. */
export function moveIntoPlace(pinFile: string): void {
  const staged = stagedFor(pinFile);
  try {
    renameSync(staged, pinFile);
    syncFolder(pinFile);
  } catch (cause) {
    const message = `The token has the new PIN, which could not be moved to ${pinFile}: it is in ${staged}, put it there.`;
    throw new SallyportError('hsm_pin_missing', message, { cause });
  }
}

/** The file of the new PIN was to be moved: it is in its place now, so that here it goes. A pipe has nothing to remove. */
export function removeGiven(given: string): void {
  try {
    if (statSync(given).isFile()) rmSync(given);
  } catch (error) {
    note(`sallyport: the new PIN is in ${given} too, which cannot be removed (${codeOf(error)}): remove it`);
  }
}

function readGiven(file: string): Buffer {
  let pin: Buffer;
  try {
    pin = readFileSync(file);
  } catch (cause) {
    const message = `The file ${file} of --new-pin-file cannot be read (${codeOf(cause)}): nothing was changed.`;
    throw new SallyportError('hsm_pin_missing', message, { cause });
  }
  if (pin.length > 0 && pin.length <= MOST_BYTES) return pin;
  pin.fill(0);
  const message = `The file ${file} of --new-pin-file holds no PIN: put 1 to 256 bytes into it. Nothing was changed.`;
  throw new SallyportError('invalid_argument', message);
}

function write(pin: Buffer, file: string, pinFile: string): void {
  rmSync(file, { force: true }); // torn: of a call that was killed before the token could learn it
  const descriptor = openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o400);
  writeSync(descriptor, pin);
  secure(descriptor, pinFile);
}

/** Closes the descriptor. */
function secure(descriptor: number, pinFile: string): void {
  try {
    const { uid, gid } = statSync(pinFile);
    fchmodSync(descriptor, 0o400);
    fchownSync(descriptor, uid, gid);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function syncFolder(file: string): void {
  const folder = openSync(dirname(file), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
