import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Agent, AgentTunnel, type Answer } from '../support/agent.ts';
import { countInMemory } from '../support/process-memory.ts';
import { descendants } from '../support/processes.ts';
import { cli } from '../support/sallyport.ts';
import { startScene } from '../support/scene.ts';
import type { Received } from '../support/upstream.ts';
import { valuesOf } from '../support/upstream.ts';

t.setTimeout(180_000);
const REQUESTS = 1_000;
const TUNNELS = 8;
const scene = await startScene({ flags: ['--workers', '2'] });
t.teardown(scene.remove);
const { sallyport, upstream } = scene;
const bot = await scene.addAgent('bot');
const agents = ['bot'];

/** Small values live elsewhere than large ones in Node: each has a way of its own to stay behind. */
const small = marker(16);
const large = marker(150);
const password = marker(20);
const replaced = marker(18);
const encoded = Buffer.from(`someone:${password}`).toString('base64').replace(/=+$/, '');
const secrets = { small, large, password, replaced, encoded };
const bearer = await scene.setCredential('bearer', small, { agents });
const wild = await scene.setCredential('wild', large, { agents });
const login = await scene.setCredential('login', password, { agents, fields: ['user=someone'] });
await scene.setCredential('keyed', 'no-marker', { agents });
const CARRIERS = ['bearer.test', 'a.wild.test', 'login.test'] as const;

t.test('the scan finds what is there', async (t) => {
  const [latin1 = 0] = countInMemory(process.pid, forms(small));
  t.ok(latin1 > 0, 'this test holds the secrets itself');
  t.equal(processes().length, 5, 'supervisor, vault, keyholder and two workers');
});

t.test('while it is hot, with all tunnels idle, a worker alone has it, at most 4 times', async (t) => {
  const tunnels = await openTunnels(bot, CARRIERS);
  await send(tunnels, REQUESTS, '/plain');
  t.equal(upstream.received.length, REQUESTS);
  t.ok(
    upstream.received.every(
      (request) => /marker-/.test(valuesOf(request, 'authorization')[0] ?? '') || isLogin(request),
    ),
    'every request carried its credential',
  );
  assertHot(t, { encoded: 0 });
  for (const tunnel of tunnels) tunnel.close();
});

t.test('an upstream that sends it back leaves no more behind, and the agent never gets it', async (t) => {
  upstream.forget();
  upstream.respond = echo;
  const tunnels = await openTunnels(bot, CARRIERS);
  const answers = await send(tunnels, REQUESTS, '/echo');
  answers.push(...(await send(tunnels, 60, '/large')));
  t.equal(upstream.received.length, REQUESTS + 60);
  const seen = answers.filter(({ headers, body }) => {
    const text = JSON.stringify(headers) + body.toString('latin1');
    return Object.values(secrets).some((secret) => text.includes(secret));
  });
  t.equal(seen.length, 0, 'no answer holds it');
  t.ok(
    answers.every(({ headers }) => /\*{16}/.test(String(headers['x-echo']))),
    'it was there, and overwritten',
  );
  assertHot(t, { encoded: 4 });
  for (const tunnel of tunnels) tunnel.close();
});

t.test('one that was replaced is nowhere', async (t) => {
  await scene.setCredential('keyed', replaced);
  const tunnels = await openTunnels(bot, ['keyed.test']);
  await send(tunnels, 200, '/echo');
  t.ok(upstream.received.some((request) => valuesOf(request, 'x-api-key')[0] === replaced));
  await scene.setCredential('keyed', 'no-marker-either');
  await send(tunnels, 200, '/plain');
  assertGone(t, { replaced });
  for (const tunnel of tunnels) tunnel.close();
});

t.test('once removed, and after 1,000 requests of another service, it is in no process', async (t) => {
  for (const id of [bearer, wild, login]) await sallyport.cli(['credential', 'remove', id]);
  const tunnels = await openTunnels(bot, ['keyed.test']);
  await send(tunnels, REQUESTS, '/plain');
  assertGone(t, secrets);
  for (const tunnel of tunnels) tunnel.close();
});

t.test('no file, no output and no environment ever held it', async (t) => {
  const needles = Object.values(secrets).flatMap(forms);
  let files = 0;
  for (const entry of readdirSync(sallyport.data, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    files++;
    const bytes = readFileSync(join(entry.parentPath, entry.name));
    t.notOk(
      needles.some((needle) => bytes.includes(needle)),
      `${entry.parentPath}/${entry.name}`,
    );
  }
  t.ok(files > 10, 'database, its log, token, journals');
  t.notOk(
    needles.some((needle) => sallyport.stderr().includes(needle.toString('latin1'))),
    'stderr',
  );
  for (const { pid } of processes()) {
    const environment = readFileSync(`/proc/${pid}/environ`);
    t.notOk(needles.some((needle) => environment.includes(needle)));
  }
  await scene.setCredential('bearer', small, { agents });
  const shown = await cli([
    ...['--data', sallyport.data, 'run', '--agent', 'bot', '--'],
    ...['sh', '-c', 'cat /proc/self/environ; for f in $(dirname $WGETRC)/*; do cat $f; done'],
  ]);
  t.match(shown, { code: 0, stdout: /HTTPS_PROXY=/ });
  t.notOk(
    needles.some((needle) => Buffer.from(shown.stdout, 'latin1').includes(needle)),
    "the agent's",
  );
});

function marker(bytes: number): string {
  return `marker-${randomBytes(bytes).toString('hex')}`;
}

function forms(text: string): Buffer[] {
  return [Buffer.from(text, 'latin1'), Buffer.from(text, 'utf16le')];
}

/** All that `serve` is. */
function processes(): { pid: number; kind: string }[] {
  const below = descendants(sallyport.pid).map(({ pid, command }) => ({
    pid,
    kind: /\/src\/(\w+)\/main\.ts/.exec(command)?.[1] ?? command,
  }));
  return [{ pid: sallyport.pid, kind: 'supervisor' }, ...below];
}

/** `encoded`: how often a worker may hold the form in which a response carries it. */
function assertHot(t: Test, { encoded }: { encoded: number }): void {
  for (const { kind, name, latin1, utf16 } of scan(secrets)) {
    const most = kind !== 'proxy' ? 0 : name === 'encoded' ? encoded : 4;
    t.ok(latin1 <= most && utf16 === 0, `${kind}: ${latin1} and ${utf16} of ${name}`);
  }
}

function assertGone(t: Test, gone: Readonly<Record<string, string>>): void {
  for (const { kind, name, latin1, utf16 } of scan(gone)) t.same([latin1, utf16], [0, 0], `${kind}: ${name}`);
}

/** How often each of `wanted` stands in each process, in both forms. */
function scan(wanted: Readonly<Record<string, string>>) {
  const names = Object.keys(wanted);
  return processes().flatMap(({ pid, kind }) => {
    const counts = countInMemory(pid, Object.values(wanted).flatMap(forms));
    return names.map((name, index) => ({
      kind,
      name,
      latin1: counts[2 * index] ?? -1,
      utf16: counts[2 * index + 1] ?? -1,
    }));
  });
}

async function openTunnels(agent: Agent, hosts: readonly string[]): Promise<AgentTunnel[]> {
  const wanted = Array.from({ length: TUNNELS }, (_, index) => hosts[index % hosts.length] ?? '');
  return Promise.all(wanted.map((host) => AgentTunnel.open(sallyport.proxy, agent, host)));
}

/** Sends `count` requests, on all tunnels at once. */
async function send(tunnels: readonly AgentTunnel[], count: number, path: string): Promise<Answer[]> {
  const answers: Answer[] = [];
  let left = count;
  const work = tunnels.map(async (tunnel) => {
    while (left-- > 0) {
      const answer = await tunnel.request(path);
      if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`);
      answers.push(answer);
    }
  });
  await Promise.all(work);
  return answers;
}

/** Sends all fields back: in a field, and in a body with a length, in chunks, cut in the middle, or a large one. */
function echo(request: Received, response: Parameters<typeof upstream.respond>[1]): void {
  const value = valuesOf(request, 'authorization')[0] ?? valuesOf(request, 'x-api-key')[0] ?? '';
  const text = isLogin(request) ? `${value} ${password}` : value;
  response.setHeader('X-Echo', text);
  const middle = text.length >> 1;
  if (request.path === '/large') {
    const filler = 'x'.repeat(64 * 1024);
    for (let i = 0; i < 16; i++) response.write(`${filler.slice(i)}${text}`);
    response.end();
  } else if (upstream.received.length % 3 === 0) {
    response.write(`you sent ${text.slice(0, middle)}`);
    setImmediate(() => response.end(`${text.slice(middle)} to us`));
  } else if (upstream.received.length % 3 === 1) {
    response.end(`{"you":"${text}","again":"${text}"}`);
  } else {
    response.removeHeader('X-Echo');
    response.writeHead(200, { 'x-echo': text, 'content-length': text.length });
    response.end(text);
  }
}

function isLogin(request: Received): boolean {
  return valuesOf(request, 'authorization')[0]?.startsWith('Basic ') === true;
}
