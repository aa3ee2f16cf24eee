import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { Control } from '../support/control.ts';
import { fill } from '../support/fill.ts';
import { Load } from '../support/load.ts';
import { until } from '../support/processes.ts';
import { startScene } from '../support/scene.ts';
import { tokenOf } from '../support/softhsm.ts';
import { ACME } from '../support/vault.ts';
import { repeat } from './product.ts';

/** `bench/custody.ts` measures 10,000. */
const COUNT = 3_000;

t.setTimeout(170_000);
const scene = await startScene({ flags: ['--workers', '1'] });
let { sallyport } = scene;
const { data, pinFile } = sallyport;
const bot = await scene.addAgent('bot');
for (const service of ['bearer', 'keyed'])
  await scene.setCredential(service, `first of ${service}`, { agents: ['bot'] });
await sallyport.stop();
await fill({ database: join(data, 'vault', 'sallyport.db'), hsm: tokenOf(data, pinFile) }, ACME, COUNT);
sallyport = await sallyport.restart();
const control = new Control(data);
t.teardown(async () => {
  control.close();
  await sallyport.stop();
  await scene.remove();
});

t.test('a rotation fails no request and no change, and shows how far it is', async (t) => {
  const loads = ['bearer.test', 'keyed.test'].map(
    (host) => new Load(sallyport.proxy, bot, host, { callers: 2, pauseMs: 5, prefix: `${host}/` }),
  );
  await until('all call', 20_000, () =>
    loads.every(({ calls }) => new Set(calls.map(({ tunnel }) => tunnel)).size === 2),
  );
  let version = 0;
  // Each new value is used by the very next request: it is opened under whichever KEK has wrapped it.
  const changes = repeat(
    100,
    async () => void (await control.setCredential('bearer', 'token', `value ${version++}`)),
  );
  const sealed = repeat(50, async () => void (await control.call('GET', '/v1/status')));
  const began = performance.now();
  const steps: { done: number; total: number; kek: string }[] = [];
  for await (const line of createInterface({ input: await control.open('POST', '/v1/hsm/rotate') }))
    steps.push(JSON.parse(line));
  t.comment(`${COUNT} credentials in ${Math.round(performance.now() - began)} ms`);
  const [changed, looked] = await Promise.all([changes.end(), sealed.end()]);
  for (const load of loads) await load.stop();

  const last = steps.at(-1);
  t.ok((last?.done ?? 0) >= COUNT && last?.done === last?.total, JSON.stringify(last));
  t.ok(steps.length > 5, `${steps.length} steps of progress`);
  t.ok(steps.every(({ done }, index) => done >= (steps[index - 1]?.done ?? 0)));
  const calls = loads.flatMap((load) => load.calls);
  t.same(
    calls.filter(({ status, path }) => status !== 200 && !path.includes('bearer')),
    [],
    `of ${calls.length} requests none failed`,
  );
  // Replacing a credential cuts what is in flight with it; refused is none.
  t.same(
    [...new Set(calls.map(({ status }) => status ?? 'cut'))].filter((of) => of !== 'cut'),
    [200],
  );
  t.same(changed.wrong, [], `${changed.runs} changes`);
  t.same(looked.wrong, []);
  t.ok(changed.longest < 5_000, `a change waited ${Math.round(changed.longest)} ms at most`);
  t.match(await control.call('POST', '/v1/hsm/retire', { kek: 'sallyport-kek-1' }), {
    retired: 'sallyport-kek-1',
  });
  t.match(await control.call('GET', '/v1/integrity'), { state: 'ok' });
});
