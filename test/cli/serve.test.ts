import { chmodSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { startSallyport } from '../support/sallyport.ts';

const sallyport = await startSallyport({ flags: ['--workers', '1'] });
t.teardown(() => sallyport.remove());
const { data } = sallyport;

t.test('status names every process, and two things are saved', async (t) => {
  const status = await sallyport.json(['status']);
  t.match(status, {
    integrity: { state: 'ok' },
    processes: [{ kind: 'supervisor', pid: sallyport.pid }, {}, {}, {}],
  });
  await sallyport.cli(['agent', 'add', 'user']);
  await sallyport.cli(['credential', 'set', 'openai', '--agent', 'user'], { stdin: 'sk-test' });
  const { stdout } = await sallyport.cli(['status']);
  for (const kind of ['supervisor', 'vault', 'keyholder', 'worker'])
    t.match(stdout, new RegExp(`^${kind} `, 'm'));
});

t.test('a second serve, taken ports and a wrong PIN: one line each, and nothing is changed', async (t) => {
  const ports = ['--proxy-listen', '127.0.0.1:0', '--api-listen', '127.0.0.1:0'];
  t.match(await sallyport.failure(['serve', ...ports]), /^1 sallyport: [^\n]+ \[already_running\]\n$/);
  const server = createServer();
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(Number(Object(server.address()).port)));
  });
  t.teardown(() => server.close());
  await sallyport.stop();
  t.match(await sallyport.failure(['status']), /^1 sallyport: [^\n]+ \[vault_not_running\]\n$/);
  const taken = ['serve', '--proxy-listen', `127.0.0.1:${port}`, '--api-listen', '127.0.0.1:0'];
  t.match(await sallyport.failure(taken), /^1 sallyport: [^\n]+ \[address_in_use\]\n$/);
  const wrong = join(data, '..', 'wrong-pin');
  writeFileSync(wrong, '1234567890', { mode: 0o400 });
  t.match(
    await sallyport.failure(['serve', ...ports, '--pin-file', wrong]),
    /^3 [^\n]*sallyport: [^\n]+ \[hsm_pin_wrong\]\n$/,
  );
  t.match(
    await sallyport.failure(['serve', ...ports, '--pin-file', '/nonexistent']),
    /^1 sallyport: [^\n]+ \[hsm_pin_missing\]\n$/,
  );
  t.match(
    await sallyport.failure(['serve', ...ports, '--workers', 'x']),
    /^1 sallyport: [^\n]+ \[invalid_settings\]\n$/,
  );
  chmodSync(data, 0o755);
  t.match(await sallyport.failure(['serve', ...ports]), /^1 sallyport: [^\n]+ \[data_folder_unsafe\]\n$/);
  chmodSync(data, 0o700);
});

t.test('without a vault the lists and the journal can still be read', async (t) => {
  t.match(await sallyport.json(['agent', 'list']), [{ name: 'user' }]);
  t.match((await sallyport.cli(['agent', 'ca', 'user'])).stdout, /BEGIN CERTIFICATE/);
  t.match(await sallyport.json(['service', 'show', 'openai']), { id: 'openai' });
  t.match(await sallyport.json(['credential', 'list']), [{ service: 'openai', agents: ['user'] }]);
  t.match(await sallyport.json(['audit', 'verify']), { intact: true, problems: [] });
  t.match((await sallyport.cli(['audit', 'verify'])).stdout, /the chain is whole/);
  t.match(await sallyport.failure(['agent', 'add', 'late']), /^1 sallyport: [^\n]+ \[vault_not_running\]\n$/);
});

t.test('it starts again with a configuration file, and what was saved is there', async (t) => {
  const config = join(data, '..', 'config.json');
  writeFileSync(config, JSON.stringify({ workers: 1, upstreamAllow: ['10.0.0.0/8'] }));
  const again = await sallyport.restart(['--config', config]);
  t.teardown(() => again.stop());
  t.match(await again.json(['agent', 'list']), [{ name: 'user' }]);
  t.equal(statSync(join(data, 'vault', 'control.sock')).mode & 0o077, 0);
  t.equal(await again.stop(), 0, 'and SIGTERM ends it well');
});
