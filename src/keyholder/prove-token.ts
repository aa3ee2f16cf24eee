import { parseArgs } from 'node:util';
import { SallyportError } from '../errors.ts';
import { answerOnce } from './one-answer.ts';
import { loadModule, openToken, proveKeys } from './token.ts';

/**
 * Logs in to a token, and finds and tries the keys in it; a process of its own, run by `backup` on a copy of the token, so that a
 * wrong PIN costs no try.
 *
 *   prove-token.ts --module PATH --token LABEL [--slot-serial SERIAL]
 *
 * Descriptor 0 is the PIN's file. Prints {"auditPublicKey": uncompressed point, hex}, or {"error":{"code","message"}} and exit 1.
 */
const PIN_FD = 0;

function main(): { auditPublicKey: string } {
  const { values } = parseArgs({
    options: {
      module: { type: 'string' },
      token: { type: 'string' },
      'slot-serial': { type: 'string' },
    },
  });
  const { module: path, token, 'slot-serial': serial } = values;
  if (path === undefined || token === undefined) {
    throw new SallyportError('invalid_argument', 'Name the module with --module and the token with --token.');
  }
  const open = openToken(loadModule(path), { module: path, token, serial }, PIN_FD);
  try {
    return { auditPublicKey: proveKeys(open).keys.auditPublic.toString('hex') };
  } finally {
    open.close();
  }
}

answerOnce(main);
