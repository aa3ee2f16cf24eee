import SQLite from 'better-sqlite3';
import t from 'tap';
import { fill } from '../support/fill.ts';
import { ACME, install, TestVault } from '../support/vault.ts';

t.setTimeout(120_000);
const COUNT = 1_500;
const KEYS = { before: 'sallyport-kek-1', after: 'sallyport-kek-2' };
const installation = await install();
await fill(installation, ACME, COUNT);
let vault = await TestVault.start(installation);
t.teardown(async () => {
  await vault.stop();
  installation.remove();
});
await vault.call('POST', '/v1/services', { services: [ACME] });
const { token } = await vault.addAgent('bot');
await vault.setCredential('acme', { token: 'value-0' }, { label: 'l0', agents: ['bot'] });
const TOTAL = COUNT + 3; // the authorities of the agent and of the proxy too

t.test('killed half-way, it goes on where it was', async (t) => {
  const worker = await vault.worker();
  const stream = await vault.open('POST', '/v1/hsm/rotate');
  let seen = '';
  for await (const chunk of stream) {
    seen += String(chunk);
    if (/"done":[1-9]/.test(seen)) break;
  }
  t.match(JSON.parse(seen.split('\n')[0] ?? ''), { kek: KEYS.after, done: 0, total: TOTAL });
  t.equal((await worker.askSecret(token)).parts[0]?.toString(), 'value-0', 'released meanwhile');
  await vault.kill();
  const left = wrappedWith(KEYS.before);
  t.ok(left > 0 && left < TOTAL, `${left} are left`);

  vault = await TestVault.start(installation);
  const retired = await vault.call('POST', '/v1/hsm/retire', { kek: KEYS.before });
  t.match(retired, {
    status: 400,
    body: { code: 'invalid_argument', message: new RegExp(`^${left} rows are still`) },
  });
  const began = performance.now();
  const steps = await rotate();
  t.comment(`${left} DEKs rewrapped in ${Math.round(performance.now() - began)} ms`);
  t.match(steps[0], { kek: KEYS.after, done: 0, total: left }, 'no further KEK is made for what is left');
  t.match(steps.at(-1), { kek: KEYS.after, done: left, total: left });
  t.equal(wrappedWith(KEYS.before), 0);
});

t.test('the old KEK is destroyed once nothing needs it, the newest never', async (t) => {
  t.match(await vault.call('POST', '/v1/hsm/retire', { kek: 'sallyport-kek-9' }), {
    body: { code: 'hsm_key_missing' },
  });
  t.equal((await vault.call('POST', '/v1/hsm/retire', { kek: KEYS.after })).body.code, 'invalid_argument');
  t.equal((await vault.call('POST', '/v1/hsm/retire', { kek: KEYS.before })).status, 200);
  t.equal(
    (await vault.call('POST', '/v1/hsm/retire', { kek: KEYS.before })).status,
    200,
    'it is gone as wanted',
  );
});

t.test('everything opens under the new one, also after a restart', async (t) => {
  await vault.stop();
  vault = await TestVault.start(installation);
  const worker = await vault.worker();
  t.equal(worker.policy.integrity, null);
  t.equal((await worker.askSecret(token)).parts[0]?.toString(), 'value-0');
  t.equal((await vault.get('/v1/integrity')).body.state, 'ok');
  t.match((await vault.get('/v1/status')).body.hsm, { kek: KEYS.after });
  const actions = vault.journal().map(({ action }) => action);
  for (const action of ['hsm.rotate', 'hsm.rotated', 'hsm.retire']) t.ok(actions.includes(action), action);
});

async function rotate(): Promise<unknown[]> {
  const chunks: string[] = [];
  for await (const chunk of await vault.open('POST', '/v1/hsm/rotate')) chunks.push(String(chunk));
  return chunks
    .join('')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

function wrappedWith(kek: string): number {
  const db = new SQLite(installation.database, { readonly: true });
  const row = db
    .prepare<string[], { n: number }>(
      'SELECT (SELECT count(*) FROM credential_versions WHERE kek = ?) + (SELECT count(*) FROM agents WHERE root_key_kek = ?) + (SELECT count(*) FROM authorities WHERE key_kek = ?) AS n',
    )
    .get(kek, kek, kek);
  db.close();
  return row?.n ?? -1;
}
