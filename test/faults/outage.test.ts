import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Load } from '../support/load.ts';
import { until } from '../support/processes.ts';
import { Product, problemOf, repeat } from './product.ts';

/** How long requests are counted, before the outage and during it, in turn. */
const WINDOW_MS = 1_500;
/** Hot credentials live this long: short, so that their end is seen. */
const MAX_AGE_MS = 10_000;
/** What is left of the rate must be more than noise of a busy machine could take. */
const LEAST_RATIO = 0.4;

t.setTimeout(120_000);
const product = await Product.start(['cold-0', 'cold-1'], [], { hotSecrets: { maxAgeMs: MAX_AGE_MS } });
t.teardown(() => product.remove());
const { sallyport } = product.scene;

t.test(
  'an outage of the HSM does not slow requests with hot credentials, until they are too old',
  async (t) => {
    const cold = await Promise.all([product.tunnel('cold-0'), product.tunnel('cold-1')]); // certificates are made
    const load = new Load(sallyport.proxy, product.bot, 'hot.test', { callers: 4, pauseMs: 1 });
    await until('all call', 20_000, () => new Set(load.calls.map(({ tunnel }) => tunnel)).size === 4);
    const before = await rate(load);
    const hotSince = performance.now();
    product.shim.control('fail C_DecryptInit 0x32', 'fail C_SignInit 0x32', 'empty slots');
    const api = repeat(50, async () => void (await product.control.call('GET', '/v1/agents')));
    t.equal(await timed(t, () => cold[0].request('/')), '503 hsm_unavailable');
    const during = await rate(load);
    t.ok(
      during > before * LEAST_RATIO,
      `${Math.round(before)} requests/s before, ${Math.round(during)} during the outage`,
    );
    t.same(
      load.calls.filter(({ status }) => status !== 200),
      [],
      'none of them failed',
    );

    await until('what was hot is too old', MAX_AGE_MS + 10_000, () => load.calls.at(-1)?.status === 503);
    t.ok(performance.now() - hotSince < MAX_AGE_MS + 10_000);
    const { code } = load.calls.at(-1) ?? {};
    t.equal(code, 'hsm_unavailable');
    const answered = await api.end();
    t.same(answered.wrong, [], `the API answered ${answered.runs} times`);

    product.shim.control();
    await until('the HSM is in use again', 10_000, async () => (await product.status()).hsm.state === 'ok');
    t.equal(await timed(t, () => cold[1].request('/')), '200');
    await until('and the hot one is opened anew', 5_000, () => load.calls.at(-1)?.status === 200);
    await load.stop();
    for (const tunnel of cold) tunnel.close();
  },
);

/** Requests that were answered 200 a second, over a window. */
async function rate(load: Load): Promise<number> {
  const began = performance.now();
  await sleep(WINDOW_MS);
  const answered = load.after(began).filter(({ status }) => status === 200).length;
  return (answered * 1_000) / (performance.now() - began);
}

async function timed(
  t: { ok(holds: boolean, what: string): unknown },
  ask: () => Promise<Parameters<typeof problemOf>[0]>,
) {
  const began = performance.now();
  const answer = problemOf(await ask());
  const took = performance.now() - began;
  t.ok(took < 6_000, `answered after ${Math.round(took)} ms, within the deadline`);
  return answer;
}
