import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ACME, install, TestVault } from '../support/vault.ts';

t.setTimeout(120_000);
const installation = await install();
const vault = await TestVault.start(installation);
t.teardown(() => installation.remove());
await vault.call('POST', '/v1/services', { services: [ACME] });
await vault.addAgent('bot');
await vault.setCredential('acme', { token: 'x' });
const first = await vault.worker('worker-1-1');
const second = await vault.worker('worker-2-1');

const grant = () => vault.call('PUT', '/v1/grants', { agent: 'bot', service: 'acme' });
const revoke = () => vault.call('DELETE', '/v1/grants?agent=bot&service=acme');

t.test('a change is in force in every worker before it is answered', async (t) => {
  const revisions = [first.policy.revision, second.policy.revision];
  t.equal((await grant()).status, 200);
  for (const [index, worker] of [first, second].entries()) {
    t.equal(worker.policy.rules.length, 1);
    t.ok(worker.policy.revision > (revisions[index] ?? 0), 'revisions grow');
  }
  t.equal((await revoke()).status, 200);
  for (const worker of [first, second]) t.equal(worker.policy.rules.length, 0);
  const { body } = await vault.get('/v1/status');
  const { revision } = first.policy;
  t.match(body.workers, [
    { name: 'worker-1-1', ready: true, revision },
    { name: 'worker-2-1', ready: true, revision },
  ]);
});

t.test('a worker that does not acknowledge is ended, and then the change is answered', async (t) => {
  await grant();
  const stopped = await vault.worker('worker-3-1');
  stopped.answering = false;
  const began = Date.now();
  t.equal((await revoke()).status, 200);
  t.ok(Date.now() - began < 3_000, 'within three seconds');
  t.match(vault.killed, [{ name: 'worker-3-1', reason: /acknowledge/ }]);
  t.ok(stopped.closed);
  await vault.until('the journal says so', () =>
    vault.journal().some((record) => record.type === 'process' && record.subject === 'worker-3-1'),
  );
  t.equal((await vault.get('/v1/status')).body.workers.length, 2);
});

t.test('a worker that cannot be ended fails the change aloud', async (t) => {
  const stuck = await vault.worker('worker-3-2');
  stuck.answering = false;
  vault.killing = false;
  const answer = await grant();
  t.match(answer, {
    status: 503,
    body: { code: 'worker_not_acknowledged', message: /^The change is made, but .*worker-3-2/ },
  });
  vault.killing = true;
  stuck.close();
  await vault.tell({ type: 'exit', name: 'worker-3-2' });
  t.equal((await revoke()).status, 200);
});

t.test('a worker that falls silent is ended without a change', async (t) => {
  const silent = await vault.worker('worker-4-1');
  silent.answering = false;
  await vault.until('it is ended', () => vault.killed.some(({ name }) => name === 'worker-4-1'));
  t.match(vault.killed.at(-1)?.reason, /ping/);
});

t.test('a worker that is gone holds nothing up', async (t) => {
  const gone = await vault.worker('worker-5-1');
  gone.close();
  const began = Date.now();
  t.equal((await grant()).status, 200);
  t.ok(Date.now() - began < 1_500);
  t.equal((await revoke()).status, 200);
});

t.test('an ordered end: workers are drained, the journal is signed, the store is whole', async (t) => {
  t.equal(await vault.stop(), 0);
  t.ok(first.drained && second.drained);
  t.match(vault.journal().at(-1), { type: 'checkpoint', signature: /^[0-9a-f]{128}$/ });
  t.notOk(existsSync(`${installation.database}-wal`), 'no log is left to be played back');
});

t.test('before the supervisor says so, nobody can change anything', async (t) => {
  const closed = await TestVault.start(installation, { open: false });
  const socket = join(installation.folder, 'vault', 'control.sock');
  const worker = await closed.worker('worker-1-2');
  t.equal(worker.policy.agents.length, 1, 'workers are served');
  t.notOk(existsSync(socket));
  await t.rejects(closed.get('/v1/agents'));
  await closed.tell({ type: 'open' });
  t.equal((await closed.get('/v1/agents')).status, 200);

  const began = Date.now();
  worker.answering = false;
  await closed.orphan();
  t.ok(Date.now() - began < 2_000, 'and without its supervisor it ends');
});

t.test('a crash leaves everything that was answered', async (t) => {
  const crashing = await TestVault.start(installation);
  await crashing.setCredential('acme', { token: 'last words' }, { agents: ['bot'] });
  await crashing.kill();
  const next = await TestVault.start(installation);
  const worker = await next.worker('worker-1-3');
  t.match(worker.policy, { integrity: null, rules: [{ version: 2 }] });
  t.equal(await next.stop(), 0);
});
