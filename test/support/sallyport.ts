import { Buffer } from 'node:buffer';
import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The real program, as a user runs it: `sallyport` through its bin, on the Node that runs the test. */
export const BIN = fileURLToPath(new URL('../../src/cli/bin.cjs', import.meta.url));

export interface CliResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output as one JSON document. */
  json(): unknown;
}

export interface CliOptions {
  /** Written to standard input, which is then closed; without it standard input is empty. */
  readonly stdin?: string | Buffer;
  /** Added to a small environment of its own; nothing is inherited but PATH. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Another copy of the program. */
  readonly bin?: string;
  /** Who runs it, where root runs the test; root too unless given. */
  readonly uid?: number;
}

/** Runs `sallyport ARGS` to its end. */
export async function cli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const child = start(args, options, 'pipe');
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  child.stdin?.on('error', () => {}); // it may end without reading
  child.stdin?.end(options.stdin ?? '');
  const { promise, resolve, reject } =
    Promise.withResolvers<readonly [number | null, NodeJS.Signals | null]>();
  child.once('error', reject);
  child.once('close', (code, signal) => resolve([code, signal]));
  const [code, signal] = await promise;
  const text = stdout();
  return { code, signal, stdout: text, stderr: stderr(), json: () => JSON.parse(text) };
}

/** A running `serve` on a data folder of its own. */
export interface Sallyport {
  readonly data: string;
  readonly pinFile: string;
  /** `http://HOST:PORT` each. */
  readonly proxy: string;
  readonly api: string;
  /** Of the supervisor. */
  readonly pid: number;
  /** Resolves with the exit code once serve has ended. */
  readonly ended: Promise<number | null>;
  /** What serve has written to standard error so far. */
  stderr(): string;
  /** Runs another command on this data folder; where it fails (a bad status is an answer), throws with its standard error. */
  cli(args: readonly string[], options?: CliOptions): Promise<CliResult>;
  /** Like `cli`, with `--json`; answers the parsed document. */
  json(args: readonly string[], options?: CliOptions): Promise<unknown>;
  /** Runs a command that must fail; answers its exit code and all that it printed: `1 sallyport: … [code]\n`. */
  failure(args: readonly string[], options?: CliOptions): Promise<string>;
  /** Ends serve (SIGTERM unless told) and waits for it; the data folder stays. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  /** Starts serve again on the same data folder, which must have been stopped. */
  restart(flags?: readonly string[]): Promise<Sallyport>;
  /** Stops and removes everything: for `t.teardown`. */
  remove(): Promise<void>;
}

export interface StartOptions {
  /** Another copy of the program to serve with. */
  readonly bin?: string;
  /** Who runs every command, where root runs the test; root too unless given. */
  readonly uid?: number;
  /** Further flags of serve; ports are free ones unless given here. */
  readonly flags?: readonly string[];
  /** Further flags of init. */
  readonly initFlags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Makes a data folder and serves it: `const sallyport = await startSallyport(); t.teardown(sallyport.remove)`. */
export async function startSallyport(options: StartOptions = {}): Promise<Sallyport> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-test-'));
  const data = join(folder, 'data');
  const pinFile = join(folder, 'pin');
  try {
    if (options.uid !== undefined) chownSync(folder, options.uid, options.uid);
    const init = ['init', '--data', data, '--pin-file', pinFile, ...(options.initFlags ?? [])];
    const made = await cli(init, asGiven(options));
    if (made.code !== 0) throw new Error(`init failed: ${made.stderr}`);
    return await serve(folder, data, pinFile, options);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Serves a data folder that is there already; `remove` leaves it. */
export async function serveFolder(
  data: string,
  pinFile: string,
  options: StartOptions = {},
): Promise<Sallyport> {
  const running = await serve('', data, pinFile, options);
  return { ...running, remove: async () => void (await running.stop()) };
}

const ATTEMPTS = 3;
/** `status` answers with it where something is wrong. */
const NOT_WELL = 2;

/** A port that was free when serve chose it may be a connection's own by the time that it listens: then once more. */
async function serve(
  folder: string,
  data: string,
  pinFile: string,
  options: StartOptions,
  attempt = 1,
): Promise<Sallyport> {
  try {
    return await serveOnce(folder, data, pinFile, options);
  } catch (error) {
    const chosen = options.flags?.some((flag) => /^--(proxy|api)-.*listen$/.test(flag));
    const taken = error instanceof Error && error.message.includes('"address_in_use"');
    if (chosen || !taken || attempt === ATTEMPTS) throw error;
    return serve(folder, data, pinFile, options, attempt + 1);
  }
}

async function serveOnce(
  folder: string,
  data: string,
  pinFile: string,
  options: StartOptions,
): Promise<Sallyport> {
  const flags = [...FREE_PORTS, '--pin-file', pinFile, ...(options.flags ?? [])];
  const given = asGiven(options);
  const command = ['serve', '--json', '--data', data, ...flags];
  const child = start(command, { ...given, bin: options.bin ?? BIN }, 'ignore');
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill); // a test that fails half-way leaves nothing running
  child.once('close', () => process.off('exit', kill));
  const stderr = collect(child.stderr);
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const { proxy, api } = await ready(child, ended, stderr);

  const run = async (args: readonly string[], more: CliOptions = {}): Promise<CliResult> => {
    const env = { ...given.env, ...more.env };
    const result = await cli(['--data', data, ...args], { ...given, ...more, env });
    const told = result.code === 0 || (args.includes('status') && result.code === NOT_WELL);
    if (!told) throw new Error(`sallyport ${args.join(' ')}: ${result.stderr}`);
    return result;
  };
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> => {
    child.kill(signal);
    return await ended;
  };
  return {
    data,
    pinFile,
    proxy,
    api,
    pid: child.pid ?? -1,
    ended,
    stderr,
    cli: run,
    json: async (args, more) => (await run(['--json', ...args], more)).json(),
    failure: async (args, more = {}) => {
      const env = { ...given.env, ...more.env };
      const result = await cli(['--data', data, ...args], { ...given, ...more, env });
      return `${result.code} ${result.stdout}${result.stderr}`;
    },
    stop,
    restart: (more = options.flags ?? []) => serve(folder, data, pinFile, { ...options, flags: more }),
    remove: async () => {
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function asGiven({ env = {}, uid, bin }: StartOptions) {
  return { env, ...(uid !== undefined && { uid }), ...(bin !== undefined && { bin }) };
}

const FREE_PORTS = ['--proxy-listen', '127.0.0.1:0', '--api-listen', '127.0.0.1:0'];
const READY_MS = 30_000;

async function ready(
  child: ChildProcess,
  ended: Promise<number | null>,
  stderr: () => string,
): Promise<{ proxy: string; api: string }> {
  let text = '';
  const timer = setTimeout(() => child.kill('SIGKILL'), READY_MS);
  const line = new Promise<string>((resolve) => {
    child.stdout?.on('data', (chunk) => {
      text += String(chunk);
      if (text.includes('\n')) resolve(text);
    });
  });
  const early = ended.then((code) => {
    throw new Error(`serve ended (${code}) before it was ready: ${stderr()}`);
  });
  try {
    const event: unknown = JSON.parse(await Promise.race([line, early]));
    if (typeof event === 'object' && event !== null && 'proxy' in event && 'api' in event) {
      return { proxy: String(event.proxy), api: String(event.api) };
    }
    throw new Error(`serve printed ${text}`);
  } finally {
    clearTimeout(timer);
    early.catch(() => {}); // it ends some time, after it was ready
  }
}

function start(args: readonly string[], options: CliOptions, stdin: 'pipe' | 'ignore'): ChildProcess {
  const { uid } = options;
  const environment = { PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: tmpdir(), ...options.env };
  // tap adds NODE_OPTIONS to whatever a test starts, and so on down: `serve`'s children would load a module of tap's,
  // which their users may not read in a checkout below closed folders. `env -i` stands in between.
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const { bin = BIN } = options;
  const node = bin === BIN ? process.execPath : join(dirname(bin), '../../node_modules/node/bin/node');
  return spawn('/usr/bin/env', ['-i', ...variables, node, bin, ...args], {
    ...(uid !== undefined && { uid, gid: uid }),
    cwd: options.cwd ?? tmpdir(),
    env: {},
    stdio: [stdin, 'pipe', 'pipe'],
  });
}

/** Where its swap is not encrypted serve says so, whatever is tested: that has a test of its own. */
const OF_THE_MACHINE = /^sallyport: memory may be swapped to [^\n]+\n/m;

function collect(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = [];
  stream?.on('data', (chunk) => chunks.push(Buffer.from(chunk)));
  return () => Buffer.concat(chunks).toString('utf8').replace(OF_THE_MACHINE, '');
}
