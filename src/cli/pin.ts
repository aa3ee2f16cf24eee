import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { SallyportError } from '../errors.ts';

export interface PinFlags {
  readonly pinFile?: string;
  readonly pinFd?: string;
}

/** A PIN that can be read from `descriptor`; `file` is where `serve` finds it, null where only a descriptor was given. */
export interface Pin {
  readonly descriptor: number;
  readonly file: string | null;
  close(): void;
}

/** 160 bits: SoftHSM's token has no lock-out, so guessing must be hopeless. */
const PIN_BYTES = 20;

/**
 * For a token of our own, writes a new PIN to a file that only its owner can read, outside the data folder; for a
 * given one, opens where its PIN is. `undo` learns how to take back what was made. Throws hsm_pin_missing,
 * already_exists, invalid_argument.
 */
export function choosePin(data: string, flags: PinFlags, own: boolean, undo: (() => void)[]): Pin {
  if (!own) return flags.pinFd === undefined ? existing(flags.pinFile) : inherited(flags.pinFd);
  if (flags.pinFd !== undefined) {
    throw new SallyportError(
      'invalid_argument',
      '--pin-fd goes with an existing token: name it with --pkcs11-token.',
    );
  }
  const file = resolve(flags.pinFile ?? `${data}.pin`);
  if (!relative(data, file).startsWith('..')) {
    throw new SallyportError(
      'invalid_argument',
      `The PIN must not lie beside the token: choose a --pin-file outside ${data}.`,
    );
  }
  create(file, undo);
  return opened(file);
}

function create(file: string, undo: (() => void)[]): void {
  let descriptor: number;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    descriptor = openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o400);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    if (code === 'EEXIST') {
      throw new SallyportError(
        'already_exists',
        `The PIN file ${file} is there already, perhaps of another token: move it away or name another with --pin-file.`,
        { cause },
      );
    }
    throw new SallyportError(
      'hsm_pin_missing',
      `The PIN file ${file} cannot be written (${code}): name another with --pin-file.`,
      { cause },
    );
  }
  undo.push(() => rmSync(file, { force: true }));
  const pin = newPin();
  try {
    writeSync(descriptor, pin);
  } finally {
    pin.fill(0);
    closeSync(descriptor);
  }
}

/** A new PIN: hexadecimal digits, made without a string. The caller wipes it. */
export function newPin(): Buffer {
  const random = randomBytes(PIN_BYTES);
  const digits = Buffer.from('0123456789abcdef', 'latin1');
  const pin = Buffer.allocUnsafeSlow(2 * PIN_BYTES);
  random.forEach((byte, index) => {
    pin[2 * index] = digits[byte >> 4] ?? 0;
    pin[2 * index + 1] = digits[byte & 15] ?? 0;
  });
  random.fill(0);
  return pin;
}

function existing(file: string | undefined): Pin {
  if (file === undefined) {
    throw new SallyportError(
      'hsm_pin_missing',
      'The PIN of the given token is needed: name its file with --pin-file.',
    );
  }
  return opened(resolve(file));
}

function opened(file: string): Pin {
  try {
    const descriptor = openSync(file, 'r');
    return { descriptor, file, close: () => closeSync(descriptor) };
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new SallyportError('hsm_pin_missing', `The PIN file ${file} cannot be read (${code}).`, { cause });
  }
}

function inherited(text: string): Pin {
  const descriptor = Number(text);
  try {
    if (!/^\d{1,4}$/.test(text)) throw new RangeError('not a descriptor');
    fstatSync(descriptor);
  } catch (cause) {
    throw new SallyportError(
      'hsm_pin_missing',
      `--pin-fd ${text} is not an open descriptor to read the PIN from.`,
      {
        cause,
      },
    );
  }
  return { descriptor, file: null, close: () => {} };
}
