import t from 'tap';
import { ACME, install, TestVault } from '../support/vault.ts';

t.setTimeout(120_000);
const installation = await install();
const vault = await TestVault.start(installation);
const worker = await vault.worker();
t.teardown(async () => {
  await vault.stop();
  installation.remove();
});
await vault.call('POST', '/v1/services', { services: [ACME] });
const { token } = await vault.addAgent('bot');
await vault.setCredential('acme', { token: 'x' }, { agents: ['bot'] });
const unavailable = { status: 503, body: { code: 'hsm_unavailable' } };

t.test('without the HSM nothing is opened and nothing changed, and it is said at once', async (t) => {
  vault.keyholder?.kill('SIGKILL');
  await vault.until(
    'the vault has noticed',
    async () => (await vault.get('/v1/status')).body.hsm.state !== 'ok',
  );
  const began = Date.now();
  t.match(await vault.call('DELETE', '/v1/agents/bot'), unavailable);
  t.match(await vault.get('/v1/intake'), unavailable);
  t.equal((await worker.askSecret(token)).code, 'hsm_unavailable');
  t.ok(Date.now() - began < 1_000, 'nobody waits for a deadline');
  t.match((await vault.get('/v1/agents')).body, [{ name: 'bot' }], 'what is known is shown');
  t.match((await vault.get('/v1/status')).body.hsm, { state: 'unavailable', error: /keyholder ended/ });
});

t.test('with the next keyholder all goes on', async (t) => {
  await vault.startKeyholder();
  await vault.until('the HSM is back', async () => (await vault.get('/v1/status')).body.hsm.state === 'ok');
  t.equal(String((await worker.askSecret(token)).parts[0]), 'x');
  t.match(await vault.setCredential('acme', { token: 'y' }), { status: 200 });
  t.equal(String((await worker.askSecret(token)).parts[0]), 'y');
});

t.test('an HSM that hangs is given up, and its keyholder ended', async (t) => {
  vault.keyholder?.kill('SIGSTOP');
  const began = Date.now();
  const answers = await Promise.all([worker.askSecret(token), worker.askSecret(token)]);
  for (const answer of answers) t.equal(answer.code, 'hsm_unavailable');
  t.ok(Date.now() - began < 6_000);
  t.match(vault.killed, [{ name: 'keyholder-2', reason: /did not answer "unwrap" within 5000 ms/ }]);
  t.match((await vault.get('/v1/status')).status, 200, 'the vault itself never hung');
});

t.test('a vault that starts before its HSM reads the policy once it is there', async (t) => {
  await vault.stop();
  const early = await TestVault.start(installation, { keyholder: false });
  t.match(await early.get('/v1/agents'), unavailable);
  t.match(await early.get('/v1/status'), { status: 200, body: { hsm: { state: 'unavailable' } } });
  await early.startKeyholder();
  const late = await early.worker();
  t.equal(late.policy.rules.length, 1);
  t.equal(String((await late.askSecret(token)).parts[0]), 'y');
  await early.stop();
});
