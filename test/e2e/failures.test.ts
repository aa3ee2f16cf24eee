import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { z } from 'zod';
import { AgentTunnel } from '../support/agent.ts';
import { Control } from '../support/control.ts';
import { Load, longestPause } from '../support/load.ts';
import { descendants, isAlive, until } from '../support/processes.ts';
import { startScene } from '../support/scene.ts';
import { type Received, valuesOf } from '../support/upstream.ts';

/* Processes that stop, or die, while agents are at work. One after another, on one running program. */
t.setTimeout(180_000);
const scene = await startScene({ flags: ['--workers', '2'] });
t.teardown(scene.remove);
const { upstream } = scene;
let { sallyport } = scene;
const bot = await scene.addAgent('bot');
await scene.setCredential('bearer', 'first', { agents: ['bot'] });
const HOST = 'bearer.test';

const Status = z.object({
  processes: z.array(z.object({ kind: z.string(), name: z.string(), pid: z.number() })),
  workers: z.array(z.object({ name: z.string(), ready: z.boolean() })),
});

t.test('a worker that is stopped holds no revocation up, and is ended', async (t) => {
  const changes = {
    'grant remove': () => sallyport.cli(['grant', 'remove', 'bot', 'bearer']),
    'credential remove': async () => sallyport.cli(['credential', 'remove', credential]),
  };
  let credential = '';
  for (const [what, change] of Object.entries(changes)) {
    credential = await scene.setCredential('bearer', 'first', { agents: ['bot'] });
    const tunnels = await Promise.all(Array.from({ length: 6 }, () => open()));
    for (const tunnel of tunnels) await tunnel.request('/warm');
    const [stopped] = await pidsOf('worker');
    if (stopped === undefined) throw new Error('there is no worker');
    process.kill(stopped, 'SIGSTOP');
    const began = performance.now();
    await change();
    const took = performance.now() - began;
    t.ok(took < 3_000, `${what} took ${Math.round(took)} ms`);
    t.notOk(isAlive(stopped), 'it is gone before the command is answered');
    upstream.forget();
    const answers = await Promise.all(
      tunnels.map((tunnel) => tunnel.request('/next').catch(() => undefined)),
    );
    t.ok(
      answers.every((answer) => answer === undefined || answer.status === 403),
      'its tunnels are closed, and the others refuse',
    );
    t.ok(answers.some((answer) => answer?.status === 403));
    t.equal(upstream.received.length, 0);
    await until('it is back', 10_000, async () => (await readyWorkers()) === 2);
    for (const tunnel of tunnels) tunnel.close();
  }
  await scene.setCredential('bearer', 'first', { agents: ['bot'] });
});

t.test('kill -9 of a worker: the others serve on, it is soon back, nothing is off the record', async (t) => {
  const load = new Load(sallyport.proxy, bot, HOST, { prefix: 'worker/' });
  await until('all call', 10_000, () => new Set(load.calls.map(({ tunnel }) => tunnel)).size === 6);
  const secondBefore = await secondHere();
  const before = load.calls.length;
  const [victim] = await pidsOf('worker');
  const killed = performance.now();
  if (victim !== undefined) process.kill(victim, 'SIGKILL');
  await until('it is missed', 2_000, async () => !(await pidsOf('worker')).includes(victim ?? 0));
  await until('it is back', 10_000, async () => (await readyWorkers()) === 2);
  const back = performance.now() - killed;
  const second = Math.max(secondBefore, await secondHere()); // how busy the machine is changes by the second
  t.ok(back < second, `it was back after ${Math.round(back)} ms, of ${Math.round(second)}`);
  await delay(1_000);
  await load.stop();
  const since = load.after(killed);
  const broken = new Set(load.calls.filter(({ status }) => status === undefined).map(({ tunnel }) => tunnel));
  const others = load.calls.filter(({ tunnel }) => !broken.has(tunnel));
  t.ok(since.length > 100 && before > 0, `${since.length} calls since`);
  t.same([...new Set(load.calls.map(({ status }) => status ?? 200))], [200], 'no call was refused');
  t.ok(longestPause(others) < 3_000, `the others paused ${Math.round(longestPause(others))} ms at most`);
  await recorded(t, upstream.received);
});

t.test('kill -9 of the keyholder: what is hot is used on, and a new secret soon', async (t) => {
  const load = new Load(sallyport.proxy, bot, HOST, { prefix: 'keyholder/' });
  await until('all call', 10_000, () => new Set(load.calls.map(({ tunnel }) => tunnel)).size === 6);
  const killed = await kill('keyholder');
  await saved(t, 'after the keyholder');
  const since = load.after(killed);
  await load.stop();
  t.ok(since.length > 50, `${since.length} calls since`);
  t.same([...new Set(load.calls.map(({ status }) => status ?? 200))], [200], 'no call was refused');
  t.ok(longestPause(load.calls) < 3_000);
  await recorded(t, upstream.received);
});

t.test('kill -9 of the vault: what is hot is used on, and a new secret soon', async (t) => {
  const load = new Load(sallyport.proxy, bot, HOST, { prefix: 'vault/' });
  await until('all call', 10_000, () => new Set(load.calls.map(({ tunnel }) => tunnel)).size === 6);
  const killed = await kill('vault');
  await until('it is used without a vault', 1_000, () =>
    load.after(killed + 100).some(({ status }) => status === 200),
  );
  await saved(t, 'after the vault');
  await delay(500);
  const since = load.after(killed);
  await load.stop();
  t.ok(since.length > 50, `${since.length} calls since`);
  const answered = since.filter(({ status }) => status !== undefined);
  t.same(
    answered.filter(({ status, code }) => status !== 200 && code !== 'vault_unavailable'),
    [],
    'refused, if at all, for want of a vault',
  );
  await until('two workers', 10_000, async () => (await readyWorkers()) === 2);
  t.equal(descendants(sallyport.pid).length, 4, 'nothing of before is left');
  await recorded(t, upstream.received);
});

t.test('kill -9 of the supervisor: nothing is left, and it starts again', async (t) => {
  const load = new Load(sallyport.proxy, bot, HOST, { prefix: 'supervisor/' });
  await until('all call', 10_000, () => new Set(load.calls.map(({ tunnel }) => tunnel)).size === 6);
  const pids = descendants(sallyport.pid).map(({ pid }) => pid);
  t.equal(pids.length, 4);
  await sallyport.stop('SIGKILL');
  const took = await until('all are gone', 5_000, () => !pids.some(isAlive));
  t.ok(took < 5_000, `the last was gone after ${Math.round(took)} ms`);
  await load.stop();
  sallyport = await sallyport.restart();
  t.teardown(() => sallyport.stop());
  await saved(t, 'after the supervisor');
  await recorded(t, upstream.received);
});

/**
 * What a second is here, in ms: one, on a machine that does nothing else, where an empty Node takes 40 ms to start and
 * end; more in proportion where it takes longer, since others want the processor too.
 */
async function secondHere(): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const began = performance.now();
    await once(spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }), 'close');
    times.push(performance.now() - began);
  }
  return Math.max(1_000, 25 * (times.sort((a, b) => a - b)[2] ?? 0));
}

function open(): Promise<AgentTunnel> {
  return AgentTunnel.open(sallyport.proxy, bot, HOST);
}

async function status() {
  const control = new Control(sallyport.data);
  try {
    return Status.parse(await control.call('GET', '/v1/status'));
  } finally {
    control.close();
  }
}

async function pidsOf(kind: string): Promise<number[]> {
  return (await status()).processes.filter((each) => each.kind === kind).map(({ pid }) => pid);
}

async function readyWorkers(): Promise<number> {
  return (await status()).workers.filter(({ ready }) => ready).length;
}

/** Kills the process of that kind; answers when. */
async function kill(kind: string): Promise<number> {
  const [pid] = await pidsOf(kind);
  if (pid === undefined) throw new Error(`there is no ${kind}`);
  process.kill(pid, 'SIGKILL');
  return performance.now();
}

/** Saves a value through the command line as soon as that can be done, and sees it used by the next request. */
async function saved(t: Test, value: string): Promise<void> {
  const took = await until('a value can be saved', 30_000, () =>
    scene.setCredential('bearer', value).then(
      () => true,
      () => false,
    ),
  );
  t.ok(took < 30_000, `it was saved after ${Math.round(took)} ms`);
  const tunnel = await open();
  t.equal((await tunnel.request('/saved')).status, 200);
  tunnel.close();
  const last = upstream.received.findLast(({ path }) => path === '/saved');
  t.same(last && valuesOf(last, 'authorization'), [`Bearer ${value}`], 'and used at once');
}

/** Whatever reached the upstream with a credential is in the journal, whose chain is whole. */
async function recorded(t: Test, received: readonly Received[]): Promise<void> {
  const { stdout } = await sallyport.cli(['audit', 'tail', '--all', '--json']);
  const injected = new Set<unknown>();
  for (const line of stdout.trim().split('\n')) {
    const { decision, path } = JSON.parse(line);
    if (decision === 'injected') injected.add(path);
  }
  const carried = received.filter((request) => valuesOf(request, 'authorization').length > 0);
  t.ok(carried.length > 0);
  t.same(
    carried.map(({ path }) => path).filter((path) => !injected.has(path)),
    [],
    `all of ${carried.length} requests are on record`,
  );
  t.match(await sallyport.json(['audit', 'verify']), { intact: true });
}
