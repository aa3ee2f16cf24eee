import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { AgentTunnel } from '../support/agent.ts';
import { Control } from '../support/control.ts';
import { startScene } from '../support/scene.ts';
import { valuesOf } from '../support/upstream.ts';

t.setTimeout(180_000);
const SAVES = 1_000;
const scene = await startScene({ flags: ['--workers', '2'] });
t.teardown(scene.remove);
const { sallyport, upstream } = scene;
const control = new Control(sallyport.data);
t.teardown(() => control.close());
const bot = await scene.addAgent('bot');

t.beforeEach(() => upstream.forget());

t.test('a value that was saved is used by the very next request, 1,000 times', async (t) => {
  await scene.setCredential('bearer', 'value-0', { agents: ['bot'] });
  const tunnels = await Promise.all(Array.from({ length: 6 }, () => open()));
  t.teardown(() => tunnels.map((tunnel) => tunnel.close()));
  const stale: string[] = [];
  for (let i = 1; i <= SAVES; i++) {
    await control.setCredential('bearer', 'token', `value-${i}`);
    // Tunnels of both workers in turn, and now and then a new one.
    const tunnel = i % 50 === 0 ? await open() : tunnels[i % tunnels.length];
    const answer = await tunnel?.request(`/${i}`);
    const [sent] = valuesOf(upstream.last, 'authorization');
    if (answer?.status !== 200 || upstream.last.path !== `/${i}` || sent !== `Bearer value-${i}`)
      stale.push(`${i}: ${answer?.status} ${sent}`);
    if (i % 50 === 0) tunnel?.close();
  }
  t.same(stale, []);
  t.equal(upstream.received.length, SAVES);
});

t.test('the same through the command line', async (t) => {
  const tunnel = await open();
  t.teardown(() => tunnel.close());
  for (let i = 1; i <= 10; i++) {
    await scene.setCredential('bearer', `cli-${i}`);
    t.equal((await tunnel.request('/')).status, 200);
    t.same(valuesOf(upstream.last, 'authorization'), [`Bearer cli-${i}`]);
  }
});

t.test('under traffic, no request that begins after a save carries an older value', async (t) => {
  let saved = 0;
  let going = true;
  const stale: string[] = [];
  const traffic = Array.from({ length: 8 }, async () => {
    let tunnel = await open();
    while (going) {
      // What is under way with the old value when it is replaced is cut off.
      if (tunnel.closed) tunnel = await open();
      const answer = await tunnel.request(`/${saved}`).catch(() => undefined);
      if (answer && ![200, 403].includes(answer.status)) stale.push(`${answer.status}`);
      if (!answer) tunnel.close();
      await delay(2);
    }
    tunnel.close();
  });
  for (let i = 1; i <= 50; i++) {
    await control.setCredential('bearer', 'token', `busy-${i}`);
    saved = i;
  }
  going = false;
  await Promise.all(traffic);
  for (const request of upstream.received) {
    const sent = Number(valuesOf(request, 'authorization')[0]?.replace('Bearer busy-', ''));
    if (request.path !== '/0' && !(sent >= Number(request.path.slice(1))))
      stale.push(`${request.path}: ${sent}`);
  }
  t.same(stale, []);
  t.ok(upstream.received.length > 100, `${upstream.received.length} requests meanwhile`);
});

function open(): Promise<AgentTunnel> {
  return AgentTunnel.open(sallyport.proxy, bot, 'bearer.test');
}
