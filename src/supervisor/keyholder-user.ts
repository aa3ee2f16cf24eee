import { SallyportError } from '../errors.ts';
import { IDENTITIES, namedUser, type User } from './identity.ts';
import { nobody } from './isolation/users.ts';
import type { ServeOptions } from './options.ts';

type Options = Pick<ServeOptions, 'installation' | 'keyholderUser' | 'isolation'>;

/**
 * The user that the keyholder runs as where root starts us. A token of our own is given to a user of ours; one that was
 * given to `init` stays with whoever owns it, so that the operator says who may use it, else root does. Throws
 * invalid_settings where the wish cannot be met.
 */
export function keyholderUser({ installation, keyholderUser: name, isolation }: Options): User {
  if (name === null) return nobody(installation.ownToken ? IDENTITIES.keyholder : 0);
  const cannot = (why: string): never => {
    throw new SallyportError('invalid_settings', `The keyholder cannot run as ${name}: ${why}.`);
  };
  if (process.getuid?.() !== 0) cannot('only root can start it as another user; leave out --keyholder-user');
  if (installation.ownToken) {
    cannot('the token in the data folder has a user of its own; leave out --keyholder-user');
  }
  if (isolation !== 'auto' && isolation !== 'uid') cannot('that goes with --isolation uid alone');
  return namedUser(name);
}

/** What a vendor's library could do where it is captured: it is loaded into the keyholder. */
export const RUNS_AS_ROOT =
  'the keyholder runs as root, and with it the PKCS#11 library: name a user that may use the token with --keyholder-user (hsm/README.md)';
