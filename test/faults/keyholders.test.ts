import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { z } from 'zod';
import { until } from '../support/processes.ts';
import { Product, problemOf } from './product.ts';

const Listed = z.object({
  hsm: z.object({
    state: z.string(),
    kek: z.string(),
    keyholders: z.array(
      z.object({
        name: z.string(),
        state: z.string(),
        error: z.string().optional(),
        health: z
          .object({
            state: z.string(),
            opened: z.number(),
            verbs: z.record(z.string(), z.object({ asked: z.number(), failed: z.number() })),
          })
          .optional(),
      }),
    ),
  }),
});

/** Each used once, while something is wrong. */
const COLD = Array.from({ length: 48 }, (_, index) => `cold-${index}`);

t.setTimeout(170_000);
const product = await Product.start(COLD, ['--keyholders', '3']);
t.teardown(() => product.remove());
let used = 0;

async function keyholders() {
  return Listed.parse(await product.control.call('GET', '/v1/status')).hsm.keyholders;
}

function allWell(withinMs = 20_000): Promise<number> {
  return until('three are well', withinMs, async () => {
    const states = (await keyholders()).map(({ state }) => state);
    return states.join() === 'ok,ok,ok';
  });
}

/** Requests with credentials that were never used, one after another: each needs the HSM. */
async function coldRequests(count: number): Promise<string[]> {
  const answers: string[] = [];
  const ids = COLD.slice(used, used + count);
  used += count;
  for (const id of ids) {
    const tunnel = await product.tunnel(id);
    answers.push(problemOf(await tunnel.request('/')));
    tunnel.close();
  }
  return answers;
}

async function pidOf(name: string): Promise<number> {
  const found = (await product.status()).processes.find((each) => each.name === name);
  if (!found || found.pid < 2) throw new Error(`${name} is not there`);
  return found.pid;
}

t.test('all are listed, each with what it was asked, and share the work', async (t) => {
  await allWell();
  t.same(await coldRequests(9), Array(9).fill('200'));
  const listed = await keyholders();
  t.same(
    listed.map(({ name }) => name.replace(/-\d+$/, '')),
    ['keyholder-1', 'keyholder-2', 'keyholder-3'],
  );
  for (const { name, health } of listed)
    t.ok((health?.verbs.unwrap?.asked ?? 0) > 0, `${name} has unwrapped`);
});

t.test('one that is killed takes no request with it', async (t) => {
  const [, second] = await keyholders();
  const requests = coldRequests(6);
  process.kill(await pidOf(second?.name ?? ''), 'SIGKILL');
  t.same(await requests, Array(6).fill('200'));
  await allWell();
});

t.test('one that hangs costs what it was asked itself, and is replaced', async (t) => {
  const [, , third] = await keyholders();
  process.kill(await pidOf(third?.name ?? ''), 'SIGSTOP');
  const answers = await coldRequests(6);
  const failed = answers.filter((answer) => answer !== '200');
  t.ok(failed.length <= 1, `${answers}`);
  t.ok(failed.every((answer) => answer === '503 hsm_unavailable'));
  await allWell();
  t.notOk(
    (await keyholders()).some(({ name }) => name === third?.name),
    'another stands in its place',
  );
});

t.test('sessions lost everywhere are opened again, one login each', async (t) => {
  product.shim.calls();
  product.shim.control('fail C_DecryptInit 0xb3 1');
  t.same(await coldRequests(4), Array(4).fill('200'));
  product.shim.control();
  await allWell();
  const logins = product.shim.calls().filter((name) => name === 'C_Login').length;
  t.ok(logins >= 1 && logins <= 3, `${logins} logins`);
});

t.test(
  'a token that is away for a while is back by itself, whoever saw first that it was gone',
  async (t) => {
    for (const first of ['status', 'request'] as const) {
      product.moveToken(true);
      if (first === 'status') {
        t.ok(
          (await keyholders()).every(
            ({ state, health }) => state === 'unavailable' && health?.state === 'failing',
          ),
        );
      }
      t.same(await coldRequests(1), ['503 hsm_unavailable']);
      await t.rejects(product.control.setCredential('hot', 'token', 'during the outage'), /hsm_unavailable/);
      await sleep(1_000);
      product.moveToken(false);
      used -= 1;
      await until('the same request is answered', 5_000, async () => {
        const [answer] = await coldRequests(1);
        if (answer !== '200') used -= 1;
        return answer === '200';
      });
      await allWell(5_000);
    }
  },
);

t.test('after a rotation every one wraps with the new KEK', async (t) => {
  const reply = await product.control.open('POST', '/v1/hsm/rotate');
  let text = '';
  for await (const chunk of reply) text += String(chunk);
  t.match(text, /"kek":"sallyport-kek-2"/);
  for (let version = 0; version < 6; version++)
    await product.control.setCredential('hot', 'token', `new ${version}`);
  t.match(await product.control.call('POST', '/v1/hsm/retire', { kek: 'sallyport-kek-1' }), {});
  t.same(await coldRequests(6), Array(6).fill('200'));
  t.match(await product.control.call('GET', '/v1/integrity'), { state: 'ok' });
});

t.test('one that dies with the KEK that it destroyed leaves the retirement to the next', async (t) => {
  for await (const _ of await product.control.open('POST', '/v1/hsm/rotate'));
  product.shim.control('die C_DestroyObject');
  const before = await keyholders();
  const retired = product.control.call('POST', '/v1/hsm/retire', { kek: 'sallyport-kek-2' });
  t.same(await retired, { retired: 'sallyport-kek-2' });
  product.shim.control();
  await allWell();
  const now = new Set((await keyholders()).map(({ name }) => name));
  t.ok(
    before.some(({ name }) => !now.has(name)),
    'one has died of it',
  );
  const { hsm } = Object(await product.control.call('GET', '/v1/status'));
  const keks = hsm.info.keys.filter(({ label }: { label: string }) => label.startsWith('sallyport-kek-'));
  t.match(keks, [{ label: 'sallyport-kek-3' }]);
  t.equal(keks.length, 1);
  await t.rejects(
    product.control.call('POST', '/v1/hsm/retire', { kek: 'sallyport-kek-9' }),
    /hsm_key_missing/,
  );
  t.same(await coldRequests(3), Array(3).fill('200'));
});

t.test('a wrong PIN is tried once, not once by each', async (t) => {
  const pin = product.readPin();
  product.writePin('x'.repeat(40));
  product.shim.calls();
  product.shim.control('fail C_DecryptInit 0xb3', 'fail C_SignInit 0xb3');
  const refused = await coldRequests(3);
  t.notOk(refused.includes('200'), `${refused}`);
  await until('the refusal is known', 10_000, async () =>
    (await keyholders()).some(({ error }) => /CKR_PIN_INCORRECT/.test(error ?? '')),
  );
  await coldRequests(2);
  await sleep(3_000); // whatever is tried by the clock
  t.equal(product.shim.calls().filter((name) => name === 'C_Login').length, 1, 'logins tried by all three');

  product.shim.control();
  product.writePin(pin);
  await until('the right PIN is tried', 10_000, () => product.shim.calls().includes('C_Login'));
  await allWell();
  t.same(await coldRequests(3), Array(3).fill('200'));
});
