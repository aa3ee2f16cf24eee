import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DemoUpstream, startDemoUpstream } from './demo-upstream.ts';

/** The demonstration behind scripts/quickstart: see there. Everything that it makes lies in .sallyport/. */
const ROOT = fileURLToPath(new URL('../', import.meta.url));
const BIN = join(ROOT, 'src', 'cli', 'bin.cjs');
const FOLDER = join(ROOT, '.sallyport');
const DATA = join(FOLDER, 'data');
const UPSTREAM_CA = join(FOLDER, 'demo-upstream-ca.pem');
const HOST = 'demo.sallyport.test';
const URL_ASKED = `https://${HOST}/v1/hello`;
const AGENT = 'demo-agent';
const SERVICE = {
  id: 'demo',
  name: 'Quickstart demo',
  category: 'demo',
  hosts: [{ pattern: HOST, path_prefix: null }],
  auth: { scheme: 'header', inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {api_key}' }] },
  fields: [{ key: 'api_key', label: 'API key', secret: true }],
};
/** Requests in one connection whose median is taken; the first, which opens it, is not counted. */
const TIMED = 41;

try {
  await demonstrate();
} catch (error) {
  process.stderr.write(`quickstart: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}

async function demonstrate(): Promise<void> {
  mkdirSync(FOLDER, { recursive: true, mode: 0o700 });
  if (!existsSync(DATA)) {
    say('Creating the data folder, a SoftHSM token, and the keys inside it …');
    await sallyport(['init']);
  }
  const upstream = await startDemoUpstream(HOST);
  let server: Server | undefined;
  try {
    writeFileSync(UPSTREAM_CA, upstream.ca);
    say('Starting keyholder, vault and proxy workers …');
    server = await serve(upstream);
    await prepare();
    await show(upstream, server);
    await server.ended;
  } finally {
    server?.process.kill('SIGTERM');
    await server?.ended;
    upstream.close();
  }
}

interface Server {
  readonly process: ChildProcess;
  readonly proxy: string;
  readonly ended: Promise<void>;
}

/** Starts `serve`; rejects with the line that it printed where it does not come up. */
async function serve(upstream: DemoUpstream): Promise<Server> {
  const flags = [
    ...['--upstream-ca', UPSTREAM_CA],
    ...['--upstream-resolve', `${HOST}:443=127.0.0.1:${upstream.port}`],
    ...['--upstream-allow', '127.0.0.1/32'],
  ];
  const child = spawn(process.execPath, [BIN, '--data', DATA, 'serve', '--json', ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // Ctrl-C reaches the child too, being in this terminal: it drains, and this waits for its end.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => child.kill('SIGTERM'));
  }
  let complaint = '';
  let ready = false;
  child.stderr.on('data', (chunk) => {
    if (ready) process.stderr.write(chunk);
    else complaint += String(chunk);
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const line = new Promise<string>((resolve) => child.stdout.once('data', (chunk) => resolve(String(chunk))));
  const started = await Promise.race([line, ended]);
  if (started === undefined) throw new Error(reasonOf(complaint));
  ready = true;
  const event: unknown = JSON.parse(started);
  return { process: child, proxy: textOf(event, 'proxy'), ended };
}

/** The demo's service, agent and credential; where they are there, the credential gets a new value. */
async function prepare(): Promise<void> {
  await sallyport(['service', 'add', '--file', '-'], JSON.stringify(SERVICE));
  const agents: unknown = JSON.parse(await sallyport(['agent', 'list']));
  const known = Array.isArray(agents) && agents.some((agent) => textOf(agent, 'name') === AGENT);
  if (!known) await sallyport(['agent', 'add', AGENT]);
  const key = `demo_${randomBytes(18).toString('base64url')}`;
  await sallyport(['credential', 'set', SERVICE.id, '--agent', AGENT], key);
}

async function show(upstream: DemoUpstream, server: Server): Promise<void> {
  const { stderr } = await run(['sallyport', 'curl', '--http1.1', '-sSv', '-o', '/dev/null', URL_ASKED]);
  const sent = sentInTunnel(stderr);
  const received = upstream.lastHead().replaceAll('\r\n', '\n');
  const direct = await median([
    '--connect-to',
    `${HOST}:443:127.0.0.1:${upstream.port}`,
    '--cacert',
    UPSTREAM_CA,
  ]);
  const proxied = await median(undefined);
  say(`
The agent sent:
${sent}

The upstream received:
${received}

Time added: ${(proxied - direct).toFixed(2)} ms a request (median of ${TIMED - 1} on one connection: ${proxied.toFixed(2)} ms through the proxy, ${direct.toFixed(2)} ms direct).

What next? Sallyport runs until Ctrl-C; the agents' proxy is ${server.proxy}. In another terminal:
  export SALLYPORT_DATA=${DATA}
  npx sallyport service list                               # what it knows how to log in to
  npx sallyport credential set openai --agent ${AGENT}    # asks for the key
  npx sallyport run --agent ${AGENT} -- curl https://api.openai.com/v1/models
  npx sallyport audit tail                                 # who asked for what`);
}

/** From `curl -v`: the lines of the last request that it sent, the one inside the tunnel. */
function sentInTunnel(trace: string): string {
  const lines = trace.split(/\r?\n/).filter((line) => line.startsWith('> '));
  const start = lines.findLastIndex((line) => /^> [A-Z]+ \S+ HTTP\/\d/.test(line));
  return lines
    .slice(start)
    .map((line) => line.slice(2))
    .join('\n')
    .trimEnd();
}

/** Median time of a request in milliseconds: direct with these arguments of curl, else through the proxy. */
async function median(direct: readonly string[] | undefined): Promise<number> {
  const each = Array.from({ length: TIMED }, () => ['-o', '/dev/null', URL_ASKED]).flat();
  const curl = ['curl', '-sS', '-w', '%{time_total}\n', ...(direct ?? []), ...each];
  const { stdout } = await run(direct ? curl : ['sallyport', ...curl]);
  const times = stdout
    .trim()
    .split('\n')
    .slice(1)
    .map((seconds) => Number(seconds) * 1_000);
  times.sort((a, b) => a - b);
  return times[Math.floor(times.length / 2)] ?? Number.NaN;
}

/** Runs a command; one that begins with "sallyport" runs as the demo's agent, through the proxy. */
async function run(words: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  const [first = '', ...rest] = words;
  if (first === 'sallyport') {
    return await run([process.execPath, BIN, '--data', DATA, 'run', '--agent', AGENT, '--', ...rest]);
  }
  return await finish(spawn(first, rest, { env: withoutProxy(), stdio: ['pipe', 'pipe', 'pipe'] }), '');
}

async function sallyport(args: readonly string[], stdin = ''): Promise<string> {
  const words = [BIN, '--data', DATA, '--json', ...args];
  return (await finish(spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'pipe'] }), stdin)).stdout;
}

async function finish(child: ChildProcess, stdin: string): Promise<{ stdout: string; stderr: string }> {
  const output = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk) => {
    output.stdout += String(chunk);
  });
  child.stderr?.on('data', (chunk) => {
    output.stderr += String(chunk);
  });
  child.stdin?.on('error', () => {}); // it ended without reading: its exit code says why
  child.stdin?.end(stdin);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(reasonOf(output.stderr));
  return output;
}

/** The environment without a proxy of somebody else's, which would stand between curl and the demo's server. */
function withoutProxy(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(https?|all|no)_proxy$/i.test(name)),
  );
}

/** The message of a command's last line, which with --json is JSON. */
function reasonOf(stderr: string): string {
  const line = stderr.trim().split('\n').at(-1) ?? '';
  try {
    const { error }: { error?: unknown } = JSON.parse(line);
    return textOf(error, 'message');
  } catch {
    return line; // curl's, say
  }
}

function textOf(from: unknown, key: string): string {
  const value =
    typeof from === 'object' && from !== null
      ? Object.entries(from).find(([name]) => name === key)
      : undefined;
  return String(value?.[1]);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
