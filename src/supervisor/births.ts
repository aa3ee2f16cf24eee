import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { JOURNAL, journalPath, READ_ONLY } from './child.ts';
import type { Birth } from './children.ts';
import { tokenArguments } from './installation.ts';
import type { ServeOptions } from './options.ts';

/** What a child is started with, but its channel and who hears of its end. */
type Provision = Omit<Birth, 'channel' | 'onGone'>;

/** `tryPin`: false where the token has refused what is in the PIN's file. One that is gone is given as an empty one. */
export function keyholderProvision(
  { installation, data, pinFile, keyholders }: ServeOptions,
  tryPin: boolean,
): Provision {
  const { ownToken, moduleEnvironment, auditPublicKey, intakePublicKey } = installation;
  return {
    args: [
      ...tokenArguments(installation),
      ...['--audit-key', auditPublicKey, '--intake-key', intakePublicKey],
      ...(keyholders > 1 ? ['--shared'] : []),
      ...(tryPin ? [] : ['--pin-refused']),
    ],
    input: { path: existsSync(pinFile) ? pinFile : '/dev/null', flags: READ_ONLY },
    dataFolder: ownToken ? join(data, 'token') : undefined,
    environment: ownToken ? { SOFTHSM2_CONF: '/proc/self/fd/4/softhsm2.conf' } : moduleEnvironment,
  };
}

/** `journal`: the name of its file. */
export function vaultProvision(options: ServeOptions, journal: string): Provision {
  return { ...workerProvision(options, journal), dataFolder: join(options.data, 'vault') };
}

/** A worker has no folder: its journal is opened for it. */
export function workerProvision({ data }: ServeOptions, journal: string): Provision {
  return {
    args: ['--journal', journal],
    input: { path: journalPath(data, journal), flags: JOURNAL },
    dataFolder: undefined,
    environment: {},
  };
}

export const EXCHANGER_PROVISION: Provision = {
  args: [],
  input: { path: '/dev/null', flags: READ_ONLY },
  dataFolder: undefined,
  environment: {},
};
