import { parseArgs } from 'node:util';
import type { Module } from 'graphene-pk11';
import { Channel } from '../channel/channel.ts';
import { Connection } from './connection.ts';
import { refusedBefore } from './pin.ts';
import { loadModule, openToken, type Place, proveKeys, type Token } from './token.ts';
import { answerWith } from './verbs.ts';

/**
 * The keyholder: the process that talks to the HSM, and all that it does.
 *
 *   main.ts --module PATH --token LABEL [--slot-serial SERIAL] [--audit-key HEX --intake-key HEX] [--shared] [--pin-refused]
 *
 * `--audit-key`, `--intake-key`: public halves that the token must hold, uncompressed points. `--shared`: one of several, which logs in only when it is asked what its HSM is.
 * `--pin-refused`: the token has refused what is in the PIN's file, which so is not tried.
 * Descriptor 0 is the PIN's file, 3 the channel to the vault. It lives as long as its channel: signals that a terminal
 * or systemd sends to a whole group are ignored, since the vault needs it until it has drained. What keeps the token
 * from being used is answered to every request, not died of: the vault can say it then, and no PIN is tried again.
 */
const PIN_FD = 0;
const CHANNEL_FD = 3;

const { values } = parseArgs({
  options: {
    module: { type: 'string' },
    token: { type: 'string' },
    'slot-serial': { type: 'string' },
    'audit-key': { type: 'string' },
    'intake-key': { type: 'string' },
    shared: { type: 'boolean', default: false },
    'pin-refused': { type: 'boolean', default: false },
  },
});
const {
  module: path,
  token: label,
  'slot-serial': serial,
  'audit-key': audit,
  'intake-key': intake,
} = values;
if (path === undefined || label === undefined)
  throw new TypeError('the keyholder needs --module and --token');
const own = audit === undefined || intake === undefined ? {} : { own: { audit, intake } };
const place: Place = { module: path, token: label, serial, ...own };

let module: Module | undefined;
function open(): Token {
  if (values['pin-refused']) throw refusedBefore();
  module ??= loadModule(place.module);
  const opened = openToken(module, place, PIN_FD);
  try {
    return proveKeys(opened);
  } catch (error) {
    opened.close();
    throw error;
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
const connection = new Connection(open, values.shared);
const channel = Channel.fromDescriptor(CHANNEL_FD, answerWith(connection));
channel.onClose = () => {
  connection.close();
  process.exit(0);
};
connection.start();
