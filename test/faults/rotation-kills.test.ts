import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { z } from 'zod';
import { AgentTunnel } from '../support/agent.ts';
import { Control } from '../support/control.ts';
import { fill, openAll } from '../support/fill.ts';
import { moments } from '../support/moments.ts';
import { until } from '../support/processes.ts';
import { startScene } from '../support/scene.ts';
import { startKeyholder, tokenOf } from '../support/softhsm.ts';
import { ACME } from '../support/vault.ts';

/** Of serve itself; of the vault and of the keyholder in test/vault. */
const KILLS = 2;
const COUNT = 600;

const Status = z.object({
  hsm: z.object({ state: z.string(), kek: z.string().optional() }),
});
const Step = z.object({ kek: z.string(), done: z.number(), total: z.number() });

t.setTimeout(170_000);
const scene = await startScene({ flags: ['--workers', '1'] });
let { sallyport } = scene;
const { data, pinFile } = sallyport;
const bot = await scene.addAgent('bot');
await scene.setCredential('bearer', 'the secret', { agents: ['bot'] });
await sallyport.stop();
const database = join(data, 'vault', 'sallyport.db');
const hsm = tokenOf(data, pinFile);
await fill({ database, hsm }, ACME, COUNT);
sallyport = await sallyport.restart();
const reader = await startKeyholder(hsm);
let control = new Control(data);
t.teardown(async () => {
  control.close();
  await reader.stop();
  await sallyport.stop();
  await scene.remove();
});

t.test(
  `serve is killed at ${KILLS} moments: a rotation always ends, with everything under the new KEK`,
  async (t) => {
    const began = performance.now();
    t.equal(await rotate(), 'done');
    const wholeMs = performance.now() - began;
    const random = moments(7);
    let interrupted = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const rotating = rotate();
      await delay(random.next().value * wholeMs);
      process.kill(sallyport.pid, 'SIGKILL');
      if ((await rotating) !== 'done') interrupted++;
      await restart();
      await until(
        'the HSM is in use',
        20_000,
        async () => (await status().catch(() => null))?.hsm.state === 'ok',
      );
      await until('the rotation is done', 20_000, async () => (await rotate()) === 'done');
      const { kek } = (await status()).hsm;
      t.same(await openAll(database, reader), { opened: COUNT + 1, keks: [kek] }, `kill ${kill + 1}`);
      t.equal(await served(), 200);
    }
    t.comment(`${interrupted} of ${KILLS} kills met the rotation half-way`);
    t.match(await control.call('GET', '/v1/integrity'), { state: 'ok', failures: [] });
  },
);

/** A rotation to its end: `done`, or why it is not. */
async function rotate(): Promise<string> {
  try {
    const reply = await control.open('POST', '/v1/hsm/rotate');
    let last: unknown;
    for await (const line of createInterface({ input: reply })) last = JSON.parse(line);
    const { success, data: step } = Step.safeParse(last);
    return success && step.done === step.total ? 'done' : JSON.stringify(last ?? 'cut');
  } catch (error) {
    return String(error);
  }
}

async function status() {
  return Status.parse(await control.call('GET', '/v1/status'));
}

async function restart(): Promise<void> {
  await sallyport.ended;
  control.close();
  sallyport = await sallyport.restart();
  control = new Control(data);
  await until('it listens', 10_000, () => existsSync(join(data, 'vault', 'control.sock')));
}

/** A request with a credential that its worker has to ask for, or has at hand where the worker lived on. */
async function served(): Promise<number> {
  const tunnel = await AgentTunnel.open(sallyport.proxy, bot, 'bearer.test');
  try {
    return (await tunnel.request('/')).status;
  } finally {
    tunnel.close();
  }
}
