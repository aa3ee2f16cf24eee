import { closeSync, constants, existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { SallyportError } from '../errors.ts';
import { tokenArguments } from '../supervisor/installation.ts';
import { runKeyholderProgram } from './keyholder-program.ts';
import { moduleEnvironment } from './module-environment.ts';

export interface TokenFlags {
  readonly pkcs11Module?: string;
  readonly pkcs11Token?: string;
  readonly pkcs11Serial?: string;
}

export interface Token {
  /** Absolute path of the PKCS#11 library. */
  readonly module: string;
  readonly label: string;
  /** Where another token carries that label too. */
  readonly serial: string | null;
  /** True: made by us, in the data folder. */
  readonly own: boolean;
  readonly environment: Readonly<Record<string, string>>;
}

const OWN_LABEL = 'sallyport';
const SOFTHSM_PLACES = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
];
/** How the children see the token's folder: through descriptor 4, so that no folder above it need be readable. */
const TOKEN_FOLDER = '/proc/self/fd/4';

/** Which token `init` was told to use. Throws hsm_module_missing, invalid_argument. */
export function chooseToken(flags: TokenFlags): Token {
  const module = resolve(flags.pkcs11Module ?? SOFTHSM_PLACES.find((place) => existsSync(place)) ?? '');
  if (flags.pkcs11Module === undefined && !SOFTHSM_PLACES.includes(module)) {
    throw new SallyportError(
      'hsm_module_missing',
      'SoftHSM is not installed: run scripts/setup, install the package softhsm2, or name a library with --pkcs11-module.',
    );
  }
  if (!existsSync(module)) {
    throw new SallyportError(
      'hsm_module_missing',
      `There is no PKCS#11 library at ${module}: check --pkcs11-module.`,
    );
  }
  const { pkcs11Token: label, pkcs11Serial: serial = null } = flags;
  if (label === undefined) {
    if (serial === null) return { module, label: OWN_LABEL, serial, own: true, environment: {} };
    throw new SallyportError(
      'invalid_argument',
      'Name the label of the token with that serial number, with --pkcs11-token.',
    );
  }
  return { module, label, serial, own: false, environment: moduleEnvironment() };
}

const Provisioned = z.object({
  intakePublicKey: z.string().regex(/^04[0-9a-f]{128}$/),
  auditPublicKey: z.string().regex(/^04[0-9a-f]{128}$/),
  anchor: z.enum(['token', 'file']),
});

/**
 * Makes the keys inside the token (and, of our own, the token), in a process of its own: this one loads no PKCS#11
 * and never reads the PIN. Throws what that process reports.
 */
export async function provision(
  token: Token,
  folder: string,
  pin: number,
): Promise<z.infer<typeof Provisioned>> {
  if (token.own) writeSoftHsmConfiguration(folder);
  const opened = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const answer = await runKeyholderProgram({
      program: 'provision',
      args: [
        ...tokenArguments({
          pkcs11Module: token.module,
          pkcs11Token: token.label,
          pkcs11Serial: token.serial,
        }),
        ...(token.own ? ['--create'] : []),
      ],
      environment: token.own ? { SOFTHSM2_CONF: `${TOKEN_FOLDER}/softhsm2.conf` } : token.environment,
      descriptors: [pin, 'ignore', opened],
    });
    return Provisioned.parse(answer);
  } finally {
    closeSync(opened);
  }
}

function writeSoftHsmConfiguration(folder: string): void {
  mkdirSync(join(folder, 'tokens'), { mode: 0o700 });
  const lines = [
    `directories.tokendir = ${TOKEN_FOLDER}/tokens`,
    'objectstore.backend = file',
    'log.level = ERROR',
    'slots.removable = false',
  ];
  writeFileSync(join(folder, 'softhsm2.conf'), `${lines.join('\n')}\n`, { mode: 0o600 });
}
