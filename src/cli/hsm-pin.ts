import { closeSync, existsSync, openSync, realpathSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type ErrorCode, SallyportError } from '../errors.ts';
import { isServed, readInstallation } from '../supervisor/data-folder.ts';
import { type Installation, tokenArguments } from '../supervisor/installation.ts';
import { type Context, requireDataFolder } from './context.ts';
import { openPin } from './hsm-check.ts';
import { runKeyholderProgram } from './keyholder-program.ts';
import { moveIntoPlace, removeGiven, stagedFor, stageNewPin } from './new-pin-file.ts';
import { printResult, properties } from './output.ts';

export interface PinChangeFlags {
  readonly pinFile?: string;
  readonly newPinFile?: string;
}

/** The token has looked at the new PIN and kept the old one. */
const REFUSED: ReadonlySet<ErrorCode> = new Set(['invalid_argument', 'hsm_mechanism_missing']);
/** It was never shown the new PIN, unless an earlier call has shown it. */
const NOT_REACHED: ReadonlySet<ErrorCode> = new Set([
  'hsm_pin_wrong',
  'hsm_pin_missing',
  'hsm_token_missing',
  'hsm_module_missing',
]);

/**
 * `hsm pin`. The new PIN is on disk before the token learns it, and takes the old one's place once the token has proven
 * to have it: whenever this is interrupted, calling it again goes on from there; where it is refused, nothing was changed.
 * Throws already_running, hsm_pin_missing, hsm_pin_wrong, invalid_argument, and what the token answers.
 */
export async function changePin(context: Context, flags: PinChangeFlags): Promise<void> {
  requireDataFolder(context);
  if (await isServed(context.data)) {
    const message = `serve runs on ${context.data} and would lose its token: stop it, change the PIN, start it again.`;
    throw new SallyportError('already_running', message);
  }
  const installation = readInstallation(context.data);
  const pinFile = realFile(flags.pinFile ?? installation.pinFile);
  const staged = stagedFor(pinFile);
  const given = flags.newPinFile === undefined ? undefined : resolve(flags.newPinFile);
  const isStaged = given === staged;
  const resume = existsSync(staged);
  stageNewPin(pinFile, given);
  try {
    await setPin(context.data, installation, pinFile, resume);
  } catch (error) {
    const code = error instanceof SallyportError ? error.code : 'internal';
    const unlearnt = REFUSED.has(code) || (!resume && NOT_REACHED.has(code));
    if (unlearnt && !isStaged) rmSync(staged);
    throw error;
  }
  moveIntoPlace(pinFile);
  if (given !== undefined && !isStaged) removeGiven(given);
  printResult(context.json, { pinFile }, () => properties([['pin file', pinFile]]));
}

/** Where the PIN is, links resolved: the new one is to take the place of the file, not of a link to it. */
function realFile(file: string | null): string {
  if (file === null) {
    throw new SallyportError('hsm_pin_missing', 'Where is the PIN? Name its file with --pin-file.');
  }
  closeSync(openPin(resolve(file)));
  return realpathSync(file);
}

async function setPin(
  data: string,
  installation: Installation,
  pinFile: string,
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
    const next = opened(openPin(stagedFor(pinFile)));
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
