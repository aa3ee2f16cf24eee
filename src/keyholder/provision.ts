import { parseArgs } from 'node:util';
import type { Module } from 'graphene-pk11';
import type { Provisioned } from '../channel/messages/keyholder.ts';
import { SallyportError } from '../errors.ts';
import { removeAnchor } from './anchor.ts';
import { createToken } from './create-token.ts';
import { info } from './info.ts';
import { existingKeys } from './key-objects.ts';
import { makeKeys } from './make-keys.ts';
import { answerOnce } from './one-answer.ts';
import type { Profile } from './profiles/profile.ts';
import { profileNamed } from './profiles/registry.ts';
import { loadModule, openToken, type Place } from './token.ts';
import { chooseProfile } from './trial.ts';
import { keepsData, tryAbilities } from './try-needs.ts';

/**
 * Makes Sallyport's keys in a token; a process of its own, run by `init`.
 *
 *   provision.ts --module PATH --token LABEL [--slot-serial SERIAL] [--create] [--empty] [--profile NAME]
 *
 * Descriptor 0 is the PIN's file. `--create` makes the token first, in SoftHSM; `--empty` makes no keys, for a token that
 * `init` is to be given; `--profile` wraps DEKs in that way, rather than in the first that works on this token. Prints one
 * JSON document: Provisioned (with `--empty` module and token), or
 * {"error":{"code","message"}} and exit 1. Where it fails, the token holds what it held before.
 */
const PIN_FD = 0;

function main(): Provisioned | { readonly module: string; readonly token: string } {
  const { values } = parseArgs({
    options: {
      module: { type: 'string' },
      token: { type: 'string' },
      'slot-serial': { type: 'string' },
      create: { type: 'boolean', default: false },
      empty: { type: 'boolean', default: false },
      profile: { type: 'string' },
    },
  });
  const { module: path, token, 'slot-serial': serial, create, empty } = values;
  if (path === undefined || token === undefined) {
    throw new SallyportError('invalid_argument', 'Name the module with --module and the token with --token.');
  }
  const wanted = values.profile === undefined ? undefined : profileNamed(values.profile);
  const module = loadModule(path);
  if (create) createToken(module, token, PIN_FD);
  return empty ? { module: path, token } : provision(module, { module: path, token, serial }, wanted);
}

function provision(module: Module, place: Place, wanted: Profile | undefined): Provisioned {
  const open = openToken(module, place, PIN_FD);
  try {
    const [existing] = existingKeys(open);
    if (existing !== undefined) {
      const message = `The token ${place.token} holds a key ${existing} already: use another token, or the installation it belongs to.`;
      throw new SallyportError('already_exists', message);
    }
    const abilities = tryAbilities(open);
    const anchor = keepsData(open) ? 'token' : 'file';
    const token = makeKeys(open, chooseProfile(open, wanted, abilities), abilities);
    // Of an installation whose keys are gone, and nothing that they authenticated with them: a new store would be measured
    // by it and taken for an older one.
    removeAnchor(open);
    return { ...info(token), anchor };
  } finally {
    open.close();
  }
}

answerOnce(main);
