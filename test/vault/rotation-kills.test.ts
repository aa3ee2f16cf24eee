import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { fill, openAll } from '../support/fill.ts';
import { moments } from '../support/moments.ts';
import { startKeyholder } from '../support/softhsm.ts';
import { ACME, install, TestVault } from '../support/vault.ts';

/** With the two of serve itself (test/faults) these are 20. */
const KILLS = Number(process.env.ROTATION_KILLS ?? 18);
const COUNT = 600;
const VICTIMS = ['keyholder', 'vault'] as const;

t.setTimeout(170_000);
const installation = await install();
const { database, hsm } = installation;
await fill(installation, ACME, COUNT);
const reader = await startKeyholder(hsm);
let vault = await TestVault.start(installation);
t.teardown(async () => {
  await reader.stop();
  await vault.stop();
  installation.remove();
});

t.test(`killed at ${KILLS} moments, a rotation always ends, with everything under the new KEK`, async (t) => {
  t.match(await rotate(), { kek: 'sallyport-kek-2', done: COUNT + 1 });
  await retire('sallyport-kek-1');
  const random = moments(20_261_124);
  let interrupted = 0;
  for (let kill = 1; kill <= KILLS; kill++) {
    const victim = VICTIMS[kill % VICTIMS.length];
    const lines = Math.floor(random.next().value * 4); // of progress: one at its start, then one for each batch
    const pauseMs = random.next().value * 30;
    const rotating = rotate(lines, async () => {
      await delay(pauseMs);
      if (victim === 'vault') await vault.kill();
      else vault.keyholder?.kill('SIGKILL');
    }).catch(() => ({ error: 'cut' }));
    const met = await rotating;
    if ('error' in met) interrupted++;
    if (victim === 'vault') vault = await TestVault.start(installation);
    else await vault.startKeyholder();
    await vault.until('the HSM is in use', async () => (await hsmStatus()).state === 'ok');
    t.match(await rotate(), { kek: String }, `${victim}, kill ${kill}`);
    const { kek, keks } = await hsmStatus();
    const all = await openAll(database, reader);
    t.same(all, { opened: COUNT, keks: [kek] }, 'every credential opens, every DEK is under the newest');
    for (const old of keks.slice(0, -1)) await retire(old);
  }
  t.ok(interrupted > 0, `${interrupted} of ${KILLS} kills met the rotation half-way`);
  t.match((await vault.get('/v1/integrity')).body, { state: 'ok', failures: [] });
});

/** A rotation; its last line. Does `then` once so many lines are there. Throws where the vault is gone. */
async function rotate(lines = 0, then = async () => {}) {
  let text = '';
  let done: Promise<void> | undefined;
  const look = (): void => {
    if (text.split('\n').length > lines) done ??= then();
  };
  look();
  try {
    for await (const chunk of await vault.open('POST', '/v1/hsm/rotate')) {
      text += String(chunk);
      look();
    }
  } finally {
    await done;
  }
  return JSON.parse(text.trim().split('\n').at(-1) ?? '');
}

async function hsmStatus(): Promise<{ state: string; kek: string; keks: string[] }> {
  const { hsm } = (await vault.get('/v1/status')).body;
  const labels: string[] = (hsm.info?.keys ?? []).map(({ label }: { label: string }) => label);
  return { state: hsm.state, kek: hsm.kek, keks: labels.filter((label) => label.includes('-kek-')) };
}

async function retire(kek: string): Promise<void> {
  const { status, body } = await vault.call('POST', '/v1/hsm/retire', { kek });
  if (status !== 200) throw new Error(JSON.stringify(body));
}
