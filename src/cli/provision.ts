import { Buffer } from 'node:buffer';
import { spawn } from 'node:child_process';
import { closeSync, constants, existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { isErrorCode, SallyportError } from '../errors.ts';

export interface TokenFlags {
  readonly pkcs11Module?: string;
  readonly pkcs11Token?: string;
}

export interface Token {
  /** Absolute path of the PKCS#11 library. */
  readonly module: string;
  readonly label: string;
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
const TIMEOUT_MS = 60_000;

/** Which token `init` was told to use. Throws hsm_module_missing. */
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
  if (flags.pkcs11Token === undefined) return { module, label: OWN_LABEL, own: true, environment: {} };
  return { module, label: flags.pkcs11Token, own: false, environment: moduleEnvironment() };
}

/** Where SoftHSM finds a token that is not ours: the children have no environment and no home of their own. */
function moduleEnvironment(): Record<string, string> {
  const named = process.env.SOFTHSM2_CONF;
  if (named !== undefined && named !== '') return { SOFTHSM2_CONF: resolve(named) };
  const personal = join(homedir(), '.config', 'softhsm2', 'softhsm2.conf');
  return existsSync(personal) ? { SOFTHSM2_CONF: personal } : {};
}

const Provisioned = z.object({
  intakePublicKey: z.string().regex(/^04[0-9a-f]{128}$/),
  auditPublicKey: z.string().regex(/^04[0-9a-f]{128}$/),
});
const Failure = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

/**
 * Makes the keys inside the token (and, of our own, the token), in a process of its own: this one loads no PKCS#11
 * and never reads the PIN. Throws what that process reports.
 */
export async function provision(
  token: Token,
  folder: string,
  pin: number,
): Promise<{ readonly intakePublicKey: string; readonly auditPublicKey: string }> {
  if (token.own) writeSoftHsmConfiguration(folder);
  const extension = extname(fileURLToPath(import.meta.url));
  const program = fileURLToPath(new URL(`../keyholder/provision${extension}`, import.meta.url));
  const args = ['--module', token.module, '--token', token.label, ...(token.own ? ['--create'] : [])];
  const opened = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, ...args], {
      env: token.own ? { SOFTHSM2_CONF: `${TOKEN_FOLDER}/softhsm2.conf` } : { ...token.environment },
      stdio: [pin, 'pipe', 'pipe', 'ignore', opened],
      timeout: TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    const output: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr?.resume(); // a module's own chatter
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    const answer = parseAnswer(Buffer.concat(output).toString('utf8'));
    if (code === 0) return Provisioned.parse(answer);
    throw reported(answer, code);
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

function reported(answer: unknown, code: number | null): SallyportError {
  const { data } = Failure.safeParse(answer);
  if (data && isErrorCode(data.error.code)) return new SallyportError(data.error.code, data.error.message);
  return new SallyportError(
    'hsm_unavailable',
    code === null
      ? 'The HSM did not answer within a minute: check its module and connection.'
      : 'The process that talks to the HSM ended without a reason: check that its PKCS#11 library can be loaded.',
  );
}

/** The last line: a module may have printed something of its own before. */
function parseAnswer(output: string): unknown {
  try {
    return JSON.parse(output.trimEnd().split('\n').at(-1) ?? '');
  } catch {
    return undefined; // It ended before it could answer, which `reported` says.
  }
}
