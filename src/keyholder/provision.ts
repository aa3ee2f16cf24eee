import { parseArgs } from 'node:util';
import pkcs11, { type Handle } from 'pkcs11js';
import type { KeyholderInfo } from '../channel/messages/keyholder.ts';
import { SallyportError } from '../errors.ts';
import { createToken } from './create-token.ts';
import { describe } from './cryptoki.ts';
import { generatePair, generateSecretKey } from './generate.ts';
import { info } from './info.ts';
import { existingKeys, FIRST_KEK, LABEL } from './keys.ts';
import { loadModule, type OpenToken, openToken, type Place, proveKeys } from './token.ts';

/**
 * Makes Sallyport's keys in a token; a process of its own, run by `init`.
 *
 *   provision.ts --module PATH --token LABEL [--slot-serial SERIAL] [--create]
 *
 * Descriptor 0 is the PIN's file. `--create` makes the token first, in SoftHSM. Prints one JSON document: KeyholderInfo,
 * or {"error":{"code","message"}} and exit 1. Where it fails, the token holds what it held before.
 */
const PIN_FD = 0;

function provision(place: Place, create: boolean): KeyholderInfo {
  const module = loadModule(place.module);
  if (create) createToken(module, place.token, PIN_FD);
  const open = openToken(module, place, PIN_FD);
  try {
    const [existing] = existingKeys(open);
    if (existing !== undefined) {
      const message = `The token ${place.token} holds a key ${existing} already: use another token, or the installation it belongs to.`;
      throw new SallyportError('already_exists', message);
    }
    return makeKeys(open);
  } finally {
    open.close();
  }
}

function makeKeys(open: OpenToken): KeyholderInfo {
  const made: Handle[] = [];
  try {
    made.push(open.profile.generate(open.graphene, FIRST_KEK));
    made.push(
      generateSecretKey(open.graphene, pkcs11.CKM_GENERIC_SECRET_KEY_GEN, [
        { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
        { type: pkcs11.CKA_LABEL, value: LABEL.mac },
        { type: pkcs11.CKA_SIGN, value: true },
        { type: pkcs11.CKA_VERIFY, value: true },
        { type: pkcs11.CKA_ENCRYPT, value: false },
        { type: pkcs11.CKA_DECRYPT, value: false },
      ]),
    );
    const audit = generatePair(open.graphene, LABEL.audit, pkcs11.CKA_SIGN);
    made.push(audit.privateKey, audit.publicKey);
    const intake = generatePair(open.graphene, LABEL.intake, pkcs11.CKA_DERIVE);
    made.push(intake.privateKey, intake.publicKey);
    return info(proveKeys(open));
  } catch (error) {
    for (const object of made) open.lib.C_DestroyObject(open.session, object);
    throw error;
  }
}

function main(): KeyholderInfo {
  const { values } = parseArgs({
    options: {
      module: { type: 'string' },
      token: { type: 'string' },
      'slot-serial': { type: 'string' },
      create: { type: 'boolean', default: false },
    },
  });
  const { module, token, 'slot-serial': serial, create } = values;
  if (module === undefined || token === undefined) {
    throw new SallyportError('invalid_argument', 'Name the module with --module and the token with --token.');
  }
  return provision({ module, token, serial }, create);
}

try {
  process.stdout.write(`${JSON.stringify(main())}\n`);
} catch (caught) {
  const error = describe(caught);
  const code = error instanceof SallyportError ? error.code : 'internal';
  const message = error instanceof Error ? error.message : String(error);
  process.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  process.exitCode = 1;
}
