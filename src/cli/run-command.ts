import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildBundle, systemRoots } from '../../certs/bundle.ts';
import { SallyportError } from '../errors.ts';
import { newToken } from './agent-token.ts';
import type { Context } from './context.ts';
import { controlStream } from './control.ts';
import { proxyUrl } from './proxy-url.ts';
import type { RunFlags } from './run.ts';
import { runEnvironment } from './run-environment.ts';

const SIGNALS = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGCONT',
  'SIGWINCH',
] as const;

interface Session {
  readonly token: string;
  end(): void;
}

/**
 * Runs `words` as a command through the proxy, and ends as it ended: with its code, or 128 and the signal's number.
 * Throws invalid_argument where the command cannot be started, and what the vault refuses with.
 */
export async function runCommand(context: Context, flags: RunFlags, words: readonly string[]): Promise<void> {
  const [program = '', ...args] = words;
  const authority =
    flags.ca === undefined ? await askAuthority(context, flags.agent) : readAuthority(flags.ca);
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-run-'));
  let session: Session | undefined;
  try {
    session = await openSession(context, flags);
    const environment = runEnvironment(process.env, {
      ...writeFiles(folder, authority),
      proxyUrl: withUser(flags.proxy ?? proxyUrl(context), flags.agent, session.token),
    });
    process.exitCode = await runToEnd(program, args, environment);
  } finally {
    session?.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The token of SALLYPORT_TOKEN, else one that the vault takes for as long as the answer to this request lasts. */
async function openSession(context: Context, flags: RunFlags): Promise<Session> {
  const given = process.env.SALLYPORT_TOKEN;
  if (given !== undefined && given !== '') return { token: given, end: () => {} };
  if (flags.proxy !== undefined) {
    throw new SallyportError(
      'invalid_argument',
      "A proxy elsewhere needs the agent's token in SALLYPORT_TOKEN.",
    );
  }
  const token = newToken();
  const path = `/v1/agents/${encodeURIComponent(flags.agent)}/sessions`;
  const stream = await controlStream(context, 'POST', path, { tokenHash: token.hash });
  const ended = (): SallyportError =>
    new SallyportError('vault_unavailable', 'The vault ended before it opened a session: try again.');
  await new Promise<void>((resolve, reject) => {
    stream.once('data', () => resolve());
    stream.once('end', () => reject(ended()));
    stream.once('error', () => reject(ended()));
  });
  stream.on('error', () => {}); // The vault is gone: so is the token, and the proxy says so to the command.
  return { token: token.text, end: () => stream.destroy() };
}

async function askAuthority(context: Context, agent: string): Promise<string> {
  const { authorityOf } = await import('./agent-ca.ts');
  return authorityOf(context, agent);
}

function readAuthority(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new SallyportError('invalid_argument', `The file ${file} of --ca cannot be read (${why}).`, {
      cause,
    });
  }
}

/** Variables that name the roots trusted so far, before the system's. */
const ROOTS = ['SSL_CERT_FILE', 'CURL_CA_BUNDLE', 'REQUESTS_CA_BUNDLE', 'NIX_SSL_CERT_FILE'];

function writeFiles(folder: string, authority: string) {
  const write = (name: string, text: string): string => {
    const file = join(folder, name);
    writeFileSync(file, text);
    return file;
  };
  const named = ROOTS.flatMap((name) => process.env[name] || []);
  const bundle = buildBundle({ base: [...named, write('roots.pem', systemRoots())], add: authority });
  const bundleFile = write('bundle.pem', bundle);
  const extra = process.env.NODE_EXTRA_CA_CERTS;
  const added =
    extra && existsSync(extra) ? buildBundle({ base: [extra, bundleFile], add: authority }) : authority;
  const wgetrc = process.env.WGETRC;
  const settings = wgetrc && existsSync(wgetrc) ? `${readFileSync(wgetrc, 'utf8')}\n` : '';
  return {
    bundleFile,
    caFile: write('ca.pem', added),
    wgetrcFile: write('wgetrc', `${settings}ca_certificate = ${bundleFile}\n`),
  };
}

function withUser(proxy: string, agent: string, token: string): string {
  if (!URL.canParse(proxy)) {
    throw new SallyportError(
      'invalid_argument',
      `The proxy "${proxy}" is not a URL such as http://10.0.0.5:7080.`,
    );
  }
  const url = new URL(proxy);
  return `${url.protocol}//${encodeURIComponent(agent)}:${encodeURIComponent(token)}@${url.host}`;
}

async function runToEnd(
  program: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<number> {
  const child = spawn(program, args, { env, stdio: 'inherit' });
  // At a terminal the child gets Ctrl-C and Ctrl-\ itself: passed on, they would count twice.
  const terminal = process.stdin.isTTY === true;
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (!terminal || (signal !== 'SIGINT' && signal !== 'SIGQUIT')) child.kill(signal);
    });
  }
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => {
      const code = 'code' in cause ? String(cause.code) : cause.message;
      const why = code === 'ENOENT' ? 'there is no such program' : code;
      reject(new SallyportError('invalid_argument', `"${program}" cannot be started: ${why}.`, { cause }));
    });
    child.once('exit', (code, signal) =>
      resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
    );
  });
}
