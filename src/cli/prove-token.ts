import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { invalidBackup } from '../backup/format.ts';
import { PIN_ENTRY, type TokenFile } from '../backup/seal-token.ts';
import { SallyportError } from '../errors.ts';
import { type Installation, tokenArguments } from '../supervisor/installation.ts';
import { runKeyholderProgram } from './keyholder-program.ts';
import { partOf } from './reply.ts';
import { writeTokenFolder } from './token-folder.ts';

/** In memory, where there is such a file system: the PIN is in there for a moment. */
const MEMORY = '/dev/shm';

/**
 * Has the keyholder log in to a copy of a SoftHSM token with the PIN that is among `files`, and find the installation's keys in it:
 * whether they fit is otherwise found out when everything is lost. The caller wipes the files. Throws hsm_pin_wrong, hsm_key_missing,
 * backup_invalid where it is another installation's token, hsm_module_missing where no SoftHSM is here.
 */
export async function proveToken(files: readonly TokenFile[], installation: Installation): Promise<void> {
  const pin = files.find(({ name }) => name === PIN_ENTRY);
  if (!pin) throw invalidBackup('its token has no PIN');
  if (!existsSync(installation.pkcs11Module)) {
    const message = `There is no PKCS#11 library at ${installation.pkcs11Module} to open the token with: install SoftHSM, or name its library with --pkcs11-module.`;
    throw new SallyportError('hsm_module_missing', message);
  }
  const folder = mkdtempSync(join(inMemory() ? MEMORY : tmpdir(), 'sallyport-token-'));
  const opened: number[] = [];
  try {
    writeTokenFolder(folder, files);
    const pinFile = join(folder, PIN_ENTRY);
    writeFileSync(pinFile, pin.bytes, { mode: 0o600, flag: 'wx' });
    opened.push(openSync(pinFile, 'r'));
    rmSync(pinFile);
    opened.push(openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY));
    const [pinDescriptor = 'ignore', token = 'ignore'] = opened;
    const answer = await runKeyholderProgram({
      program: 'prove-token',
      args: tokenArguments(installation),
      environment: { SOFTHSM2_CONF: '/proc/self/fd/4/softhsm2.conf' },
      descriptors: [pinDescriptor, 'ignore', token],
    });
    if (partOf(answer, 'auditPublicKey') !== installation.auditPublicKey)
      throw invalidBackup("its token is another installation's");
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
    rmSync(folder, { recursive: true, force: true });
  }
}

function inMemory(): boolean {
  try {
    accessSync(MEMORY, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
