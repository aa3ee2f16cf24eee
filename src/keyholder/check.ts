import { parseArgs } from 'node:util';
import type { Module } from 'graphene-pk11';
import type { HsmReport, TokenReport } from '../channel/messages/hsm-report.ts';
import { SallyportError } from '../errors.ts';
import { readMechanisms } from './mechanisms.ts';
import { answerOnce } from './one-answer.ts';
import { endLibrary, type Found, loadModule, openToken, slotsWithTokens, startLibrary } from './token.ts';
import { onPaper, onToken, type Subject } from './token-report.ts';

/**
 * Finds out what a PKCS#11 module can do for Sallyport; a process of its own, run by `hsm check`.
 *
 *   check.ts --module PATH [--token LABEL [--slot-serial SERIAL] [--try]]
 *
 * With `--try` descriptor 0 is the PIN's file: everything is then tried on that token, with objects that end with the
 * session. Without, it tells from what the token lists. Prints one JSON document: HsmReport, or {"error":{"code",
 * "message"}} and exit 1. It makes nothing in any token that stays.
 */
const PIN_FD = 0;

function main(): HsmReport {
  const { values } = parseArgs({
    options: {
      module: { type: 'string' },
      token: { type: 'string' },
      'slot-serial': { type: 'string' },
      try: { type: 'boolean', default: false },
    },
  });
  const { module: path, token, 'slot-serial': serial } = values;
  if (path === undefined || (values.try && token === undefined)) {
    throw new SallyportError(
      'invalid_argument',
      'Name the module with --module and, to try it, the token with --token.',
    );
  }
  const module = loadModule(path);
  const { about, subjects } = look(module, path);
  const wanted = subjects.filter(
    (subject) =>
      (token === undefined || subject.label === token) && (serial === undefined || subject.serial === serial),
  );
  if (token !== undefined && wanted.length === 0) {
    const message = `The module ${path} shows no token ${token}: plug it in, or name another with --pkcs11-token.`;
    throw new SallyportError('hsm_token_missing', message);
  }
  const tokens = wanted.map((subject) =>
    values.try ? tryOut(module, path, subject) : onPaper(subject, 'no PIN was given'),
  );
  return { module: about, tokens };
}

/** The module and its tokens, as anybody may see them. */
function look(module: Module, path: string): { about: HsmReport['module']; subjects: Subject[] } {
  startLibrary(module);
  try {
    const { manufacturerID, libraryDescription, libraryVersion, cryptokiVersion } = module;
    const about = {
      path,
      manufacturer: manufacturerID.trim(),
      description: libraryDescription.trim(),
      version: `${libraryVersion.major}.${libraryVersion.minor}`,
      cryptoki: `${cryptokiVersion.major}.${cryptokiVersion.minor}`,
    };
    const subject = ({ slot, label, serial, maker }: Found): Subject => ({
      label,
      serial,
      maker,
      mechanisms: readMechanisms(module.lib, slot.handle),
    });
    return { about, subjects: slotsWithTokens(module).map(subject) };
  } finally {
    endLibrary(module);
  }
}

function tryOut(module: Module, path: string, subject: Subject): TokenReport {
  const place = { module: path, token: subject.label, serial: subject.serial };
  const open = openToken(module, place, PIN_FD, () => {});
  try {
    return onToken(open, subject);
  } finally {
    open.close();
  }
}

answerOnce(main);
