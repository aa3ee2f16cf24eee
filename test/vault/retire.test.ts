import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { KeyholderClient } from '../../src/vault/keyholder.ts';
import { fill } from '../support/fill.ts';
import { makeToken, startKeyholder } from '../support/softhsm.ts';
import { ACME, install, TestVault } from '../support/vault.ts';

t.setTimeout(120_000);

t.test('what is being opened with a KEK is known until it is open', async (t) => {
  const { hsm, info } = makeToken();
  const keyholder = await startKeyholder(hsm);
  t.teardown(async () => {
    await keyholder.stop();
    hsm.remove();
  });
  const client = new KeyholderClient(() => {});
  await client.connect('keyholder', keyholder.channel);
  const aad = Buffer.from('aad');
  const { wrapped, kek } = await client.wrap(Buffer.alloc(32, 1), aad);
  t.equal(kek, info.kek);
  await client.unused(kek);
  keyholder.process.kill('SIGSTOP');
  let over = false;
  const opened = client.unwrap(wrapped, aad, kek);
  const unused = client.unused(kek).then(() => {
    over = true;
  });
  await client.unused('sallyport-kek-2'); // another one waits for nothing
  await delay(200);
  t.notOk(over);
  keyholder.process.kill('SIGCONT');
  t.same(await opened, Buffer.alloc(32, 1));
  await unused;
});

t.test('no KEK is retired during a rotation, nor while a row needs it', async (t) => {
  const installation = await install();
  await fill(installation, ACME, 1_000);
  const vault = await TestVault.start(installation);
  t.teardown(async () => {
    await vault.stop();
    installation.remove();
  });
  const kek = 'sallyport-kek-1';
  const rotating = await vault.open('POST', '/v1/hsm/rotate');
  const meanwhile = await vault.call('POST', '/v1/hsm/retire', { kek });
  t.match(meanwhile, {
    status: 409,
    body: { code: 'already_running', message: /may still need sallyport-kek-1/ },
  });
  t.match((await vault.call('POST', '/v1/hsm/rotate')).body.code, 'already_running');
  let text = '';
  for await (const chunk of rotating) text += String(chunk);
  t.match(text, /"done":(\d+),"total":\1\}\n$/);
  t.equal((await vault.call('POST', '/v1/hsm/retire', { kek })).status, 200);
});
