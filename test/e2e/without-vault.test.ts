import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { AgentTunnel, basic, connect } from '../support/agent.ts';
import { Load } from '../support/load.ts';
import { descendants, isAlive, until } from '../support/processes.ts';
import { startScene } from '../support/scene.ts';
import { valuesOf } from '../support/upstream.ts';

/*
 * A vault that does not come back: workers use what is hot for 5 seconds, refuse then, and end after 30. Its supervisor
 * is stopped meanwhile, since it would start another.
 */
t.setTimeout(120_000);
const GRACE_MS = 5_000;
const END_MS = 30_000;
const scene = await startScene({ flags: ['--workers', '2'] });
t.teardown(scene.remove);
const { sallyport, upstream } = scene;
const bot = await scene.addAgent('bot');
await scene.setCredential('bearer', 'first', { agents: ['bot'] });
await scene.setCredential('keyed', 'cold', { agents: ['bot'] });

t.test('without a vault workers go on for 5 seconds, refuse, and end after 30', async (t) => {
  const load = new Load(sallyport.proxy, bot, 'bearer.test', { pauseMs: 50 });
  const cold = await AgentTunnel.open(sallyport.proxy, bot, 'keyed.test');
  await until('all call', 10_000, () => new Set(load.calls.map(({ tunnel }) => tunnel)).size === 6);
  const children = descendants(sallyport.pid);
  const vault = children.find(({ command }) => command.includes('/src/vault/main'));
  const workers = children.filter(({ command }) => command.includes('/src/proxy/main'));
  if (!vault || workers.length !== 2) throw new Error('two workers and a vault were expected');

  process.kill(sallyport.pid, 'SIGSTOP');
  t.teardown(() => process.kill(sallyport.pid, 'SIGCONT'));
  process.kill(vault.pid, 'SIGKILL');
  const killed = performance.now();

  upstream.forget();
  const answer = await cold.request('/cold');
  t.match(answer, { status: 503, headers: { 'x-sallyport-error': 'vault_unavailable', 'retry-after': '1' } });
  t.match(JSON.parse(answer.body.toString()), { code: 'vault_unavailable', retryable: true });
  t.notOk(
    upstream.received.some(({ path }) => path === '/cold'),
    'what is not hot is not used',
  );

  await delay(END_MS - 2_000 - (performance.now() - killed));
  t.ok(
    workers.every(({ pid }) => isAlive(pid)),
    'they are still there, to say why they refuse',
  );
  const { answer: refused, socket } = await connect(sallyport.proxy, 'bearer.test:443', basic(bot));
  socket.destroy();
  t.match(refused, { status: 503, headers: { 'x-sallyport-error': 'vault_unavailable' } });
  await load.stop();
  const calls = load.after(killed);
  const hot = calls.filter(({ status }) => status === 200);
  const lastUse = Math.max(...hot.map(({ at }) => at - killed));
  t.ok(lastUse > GRACE_MS - 1_000, `it was used for ${Math.round(lastUse)} ms`);
  t.ok(lastUse < GRACE_MS + 1_000, 'and no longer');
  const refusals = calls.filter(({ status }) => status !== 200);
  t.ok(refusals.length > 100);
  t.same([...new Set(refusals.map(({ status, code }) => `${status} ${code}`))], ['503 vault_unavailable']);
  await until('they end', 4_000, () => !workers.some(({ pid }) => isAlive(pid)));
  t.ok(performance.now() - killed > END_MS - 1_000, 'after 30 seconds, not before');
});

t.test('once it is started again all is as it was', async (t) => {
  await until('a value can be saved', 30_000, () =>
    scene.setCredential('bearer', 'second').then(
      () => true,
      () => false,
    ),
  );
  const tunnel = await AgentTunnel.open(sallyport.proxy, bot, 'bearer.test');
  t.equal((await tunnel.request('/again')).status, 200);
  t.same(valuesOf(upstream.last, 'authorization'), ['Bearer second']);
  tunnel.close();
  t.match(await sallyport.json(['audit', 'verify']), { intact: true });
});
