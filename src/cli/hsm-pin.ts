import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { SallyportError } from '../errors.ts';
import { isServed, readInstallation } from '../supervisor/data-folder.ts';
import { type Installation, tokenArguments } from '../supervisor/installation.ts';
import { type Context, requireDataFolder } from './context.ts';
import { openPin } from './hsm-check.ts';
import { runKeyholderProgram } from './keyholder-program.ts';
import { printResult, properties } from './output.ts';
import { newPin } from './pin.ts';

export interface PinChangeFlags {
  readonly pinFile?: string;
  readonly newPinFile?: string;
}

/** The token has looked at the new PIN and kept the old one. */
const NEVER_LEARNT: ReadonlySet<string> = new Set(['invalid_argument', 'hsm_mechanism_missing']);

/**
 * `hsm pin`. The new PIN is on disk before the token learns it, and takes the old one's place once the token has proven
 * to have it: whenever this is interrupted, calling it again goes on from there. Throws already_running,
 * hsm_pin_missing, hsm_pin_wrong, invalid_argument, and what the token answers.
 */
export async function changePin(context: Context, flags: PinChangeFlags): Promise<void> {
  requireDataFolder(context);
  if (await isServed(context.data)) {
    const message = `serve runs on ${context.data} and would lose its token: stop it, change the PIN, start it again.`;
    throw new SallyportError('already_running', message);
  }
  const installation = readInstallation(context.data);
  const file = flags.pinFile ?? installation.pinFile;
  if (file === null) {
    throw new SallyportError('hsm_pin_missing', 'Where is the PIN? Name its file with --pin-file.');
  }
  const pinFile = resolve(file);
  const newFile = resolve(flags.newPinFile ?? `${pinFile}.new`);
  const resume = existsSync(newFile);
  if (flags.newPinFile === undefined) prepare(newFile, pinFile);
  try {
    await setPin(context.data, installation, pinFile, newFile, resume);
  } catch (error) {
    const refused = error instanceof SallyportError && NEVER_LEARNT.has(error.code);
    if (refused && flags.newPinFile === undefined) rmSync(newFile);
    throw error;
  }
  moveIntoPlace(newFile, pinFile);
  printResult(context.json, { pinFile }, () => properties([['pin file', pinFile]]));
}

/** Writes a new PIN with the owner of the old one, unless an earlier call has written a whole one. */
function prepare(newFile: string, pinFile: string): void {
  const pin = newPin();
  try {
    const { uid, gid } = statSync(openable(pinFile));
    if (existsSync(newFile)) {
      if (statSync(newFile).size === pin.length) return;
      rmSync(newFile); // torn: the token cannot have learnt it
    }
    const descriptor = openSync(newFile, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o400);
    try {
      writeSync(descriptor, pin);
      fchmodSync(descriptor, 0o400);
      fchownSync(descriptor, uid, gid);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    syncFolder(newFile);
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause;
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    const message = `The new PIN cannot be written to ${newFile} (${why}): name another place with --new-pin-file.`;
    throw new SallyportError('hsm_pin_missing', message, { cause });
  } finally {
    pin.fill(0);
  }
}

function openable(file: string): string {
  closeSync(openPin(file));
  return file;
}

async function setPin(
  data: string,
  installation: Installation,
  pinFile: string,
  newFile: string,
  resume: boolean,
): Promise<void> {
  const { ownToken, moduleEnvironment } = installation;
  const descriptors: number[] = [];
  const opened = (descriptor: number): number => {
    descriptors.push(descriptor);
    return descriptor;
  };
  try {
    const old = opened(openPin(pinFile));
    const next = opened(openPin(newFile));
    const folder = ownToken ? opened(openSync(join(data, 'token'), 'r')) : ('ignore' as const);
    await runKeyholderProgram({
      program: 'change-pin',
      args: [...tokenArguments(installation), ...(resume ? ['--resume'] : [])],
      environment: ownToken ? { SOFTHSM2_CONF: '/proc/self/fd/4/softhsm2.conf' } : moduleEnvironment,
      descriptors: [old, next, folder],
    });
  } finally {
    for (const descriptor of descriptors) closeSync(descriptor);
  }
}

function moveIntoPlace(newFile: string, pinFile: string): void {
  try {
    renameSync(newFile, pinFile);
    syncFolder(pinFile);
  } catch (cause) {
    const message = `The token has the new PIN, which could not be moved to ${pinFile}: it is in ${newFile}, put it there.`;
    throw new SallyportError('hsm_pin_missing', message, { cause });
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
