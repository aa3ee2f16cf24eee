import { timingSafeEqual } from 'node:crypto';
import { parseArgs } from 'node:util';
import { SallyportError } from '../errors.ts';
import { returnValue } from './cryptoki.ts';
import { answerOnce } from './one-answer.ts';
import { readPin, SHORTEST_PIN } from './pin.ts';
import { isSoftware, loadModule, type OpenToken, openToken, type Place } from './token.ts';

/**
 * Changes a token's user PIN; a process of its own, run by `hsm pin`.
 *
 *   change-pin.ts --module PATH --token LABEL [--slot-serial SERIAL] [--resume]
 *
 * Descriptor 0 is the file of the PIN, 3 that of the new one. `--resume`: an earlier change was interrupted, so the new
 * PIN may be the token's already. Prints {"changed": whether the token had the old PIN still}, or {"error":{"code",
 * "message"}} and exit 1: hsm_unavailable where the token may have the new PIN, invalid_argument and
 * hsm_mechanism_missing where it keeps the old one. What it leaves is proven by a login with the new PIN.
 */
const PIN_FD = 0;
const NEW_PIN_FD = 3;

function main(): { changed: boolean } {
  const { values } = parseArgs({
    options: {
      module: { type: 'string' },
      token: { type: 'string' },
      'slot-serial': { type: 'string' },
      resume: { type: 'boolean', default: false },
    },
  });
  const { module: path, token, 'slot-serial': serial, resume } = values;
  if (path === undefined || token === undefined) {
    throw new SallyportError('invalid_argument', 'Name the module with --module and the token with --token.');
  }
  const module = loadModule(path);
  const place: Place = { module: path, token, serial };
  const open = (pinFd: number): OpenToken => openToken(module, place, pinFd, () => {});
  refuseSame();
  let changed = false;
  try {
    const opened = open(PIN_FD);
    try {
      setPin(opened);
      changed = true;
    } finally {
      opened.close();
    }
  } catch (error) {
    if (!resume || !(error instanceof SallyportError) || error.code !== 'hsm_pin_wrong') throw error;
  }
  prove(() => open(NEW_PIN_FD).close(), changed);
  return { changed };
}

/** Before the token is asked anything: a change that changes nothing would look like one. */
function refuseSame(): void {
  const old = readPin(PIN_FD);
  const next = readPin(NEW_PIN_FD);
  try {
    if (old.length !== next.length || !timingSafeEqual(old, next)) return;
    throw new SallyportError(
      'invalid_argument',
      'The new PIN is the old one: nothing was changed, choose another.',
    );
  } finally {
    old.fill(0);
    next.fill(0);
  }
}

function prove(login: () => void, changed: boolean): void {
  try {
    login();
  } catch (cause) {
    if (!changed) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `The token took the new PIN, but does not let in with it yet: call this again. (${why})`;
    throw new SallyportError('hsm_unavailable', message, { cause });
  }
}

function setPin(token: OpenToken): void {
  const old = readPin(PIN_FD);
  const next = readPin(NEW_PIN_FD);
  try {
    if (isSoftware(token.maker) && next.length < SHORTEST_PIN) {
      const message = `The new PIN has at least ${SHORTEST_PIN} characters: SoftHSM never locks, so a short one is found.`;
      throw new SallyportError('invalid_argument', message);
    }
    token.lib.C_SetPIN(token.session, old.toString('utf8'), next.toString('utf8'));
  } catch (error) {
    throw describeRefusal(error);
  } finally {
    old.fill(0);
    next.fill(0);
  }
}

function describeRefusal(error: unknown): unknown {
  const name = returnValue(error);
  if (name === 'CKR_FUNCTION_NOT_SUPPORTED') {
    const message = "The token's PIN cannot be changed through PKCS#11: change it with the vendor's tool.";
    return new SallyportError('hsm_mechanism_missing', message, { cause: error });
  }
  if (name?.startsWith('CKR_PIN_')) {
    const message = `The token refused the new PIN (${name}) and keeps the old one: choose another with --new-pin-file.`;
    return new SallyportError('invalid_argument', message, { cause: error });
  }
  return error;
}

answerOnce(main);
