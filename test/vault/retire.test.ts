import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { KeyholderClient } from '../../src/vault/keyholder.ts';
import { fill } from '../support/fill.ts';
import { makeShim } from '../support/pkcs11-shim.ts';
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

t.test('a retirement whose keyholder died with the KEK is done when it is asked for again', async (t) => {
  const shim = makeShim();
  const made = await install();
  const vault = await TestVault.start({ ...made, hsm: { ...made.hsm, module: shim.module } });
  t.teardown(async () => {
    shim.control();
    await vault.stop();
    made.remove();
    shim.remove();
  });
  const retire = (number: number) => vault.call('POST', '/v1/hsm/retire', { kek: `sallyport-kek-${number}` });
  for await (const _ of await vault.open('POST', '/v1/hsm/rotate'));
  shim.control('die C_DestroyObject');
  t.match(await retire(1), { status: 503, body: { code: 'hsm_unavailable' } });
  t.match(await retire(1), { status: 503 }, 'nobody knows until there is a keyholder again');
  shim.control();
  await vault.startKeyholder();
  await vault.until('it is there', async () => (await vault.get('/v1/status')).body.hsm.state === 'ok');
  const { keys } = (await vault.get('/v1/status')).body.hsm.info;
  t.notOk(keys.some(({ label }: { label: string }) => label === 'sallyport-kek-1'));
  t.match(await retire(1), { status: 200, body: { retired: 'sallyport-kek-1' } });
  t.match(await retire(3), { body: { code: 'hsm_key_missing' } }, 'there never was such a one');
  t.match(await retire(2), { body: { code: 'invalid_argument' } });
  const noted = vault
    .journal()
    .filter(({ action }) => /^hsm\.retir/.test(action))
    .map(({ type, action, subject, detail }) =>
      `${type} ${action} ${subject.at(-1)} ${detail.code ?? ''}`.trim(),
    );
  t.same(noted, [
    'admin hsm.retiring 1',
    'refusal hsm.retire 1 hsm_unavailable',
    'admin hsm.retiring 1',
    'refusal hsm.retire 1 hsm_unavailable',
    'admin hsm.retiring 1',
    'admin hsm.retire 1',
    'admin hsm.retiring 3',
    'refusal hsm.retire 3 hsm_key_missing',
  ]);
});
