import { X509Certificate } from 'node:crypto';
import SQLite from 'better-sqlite3';
import t from 'tap';
import { readPem } from '../../../certs/pem.ts';
import { RootKeys } from '../../../src/vault/authorities/root-keys.ts';
import { KeyholderClient } from '../../../src/vault/keyholder.ts';
import { ask } from '../../keyholder/ask.ts';
import { makeShim } from '../../support/pkcs11-shim.ts';
import { startKeyholder } from '../../support/softhsm.ts';
import { type Installation, install, TestVault } from '../../support/vault.ts';
import { leadsTo, workerKey } from './authority.ts';

t.setTimeout(170_000);
const { spki } = workerKey();
const names = ['proxy.example'];
type Where = 'hsm' | 'wrapped';

/** Starts a vault, and sees that it has made the roots that it lacked. */
async function start(installation: Installation, authorityKeys: Where, daysAhead = 0): Promise<TestVault> {
  const vault = await TestVault.start(installation, { names, authorityKeys, daysAhead });
  await leaf(vault);
  return vault;
}

/** Labels of the listener's keys in the HSM, which reports of each that it cannot leave. */
async function inHsm(vault: TestVault): Promise<string[]> {
  const { body } = await vault.get('/v1/status');
  const keys: Record<string, unknown>[] = body.hsm.info.keys;
  const own = keys.filter(({ label }) => String(label).startsWith('sallyport-proxy-'));
  const confined = { extractable: false, sensitive: true, neverExtractable: true, local: true };
  for (const key of own) t.match(key, { type: 'EC P-256', ...confined });
  return own.map(({ label }) => String(label)).sort();
}

/** The listener's roots that an agent is to trust. */
async function roots(vault: TestVault): Promise<X509Certificate[]> {
  const { pem } = (await vault.get('/v1/agents/bot/ca')).body;
  const all = readPem(pem).map((der) => new X509Certificate(der));
  return all.filter(({ subject }) => subject.includes('Sallyport proxy'));
}

async function leaf(vault: TestVault) {
  const worker = await vault.worker();
  return worker.ask({ type: 'listener-leaf' }, [spki]);
}

async function chainOf(vault: TestVault): Promise<X509Certificate[]> {
  const { parts, header } = await leaf(vault);
  if (!parts[0]) throw new Error(JSON.stringify(header));
  return readPem(parts[0].toString()).map((der) => new X509Certificate(der));
}

function rows(database: string): { id: string; bytes: number; kek: string; removed: number }[] {
  const db = new SQLite(database, { readonly: true });
  const query =
    'SELECT id, length(key_sealed) + length(key_dek) AS bytes, key_kek AS kek, removed_at IS NOT NULL AS removed FROM authorities ORDER BY id';
  const all = db.prepare<[], { id: string; bytes: number; kek: string; removed: number }>(query).all();
  db.close();
  return all;
}

for (const where of ['hsm', 'wrapped'] as const) {
  t.test(`${where}: the listener's root is replaced while both are trusted`, async (t) => {
    const installation = await install();
    let vault = await start(installation, where);
    t.teardown(async () => {
      await vault.stop();
      installation.remove();
    });
    const expect = (...numbers: number[]): string[] =>
      where === 'hsm' ? numbers.map((number) => `sallyport-proxy-${number}`) : [];
    await vault.addAgent('bot');
    const [old, ...none] = await roots(vault);
    t.equal(none.length, 0);
    t.same(await inHsm(vault), expect(1));
    const first = await chainOf(vault);
    t.equal(first.length, 2);
    t.ok(leadsTo(first, old));
    t.match(await vault.call('POST', '/v1/authority/retire'), {
      status: 404,
      body: { code: 'not_found', message: /one CA and no earlier one: .*authority rotate/ },
    });

    const worker = await vault.worker();
    t.equal(worker.policy.listenerAuthority, 'proxy');
    t.same(await vault.call('POST', '/v1/authority/rotate'), {
      status: 200,
      body: { made: ['proxy-2'], ended: [], roots: ['proxy', 'proxy-2'] },
    });
    t.equal(worker.policy.listenerAuthority, 'proxy proxy-2', 'workers are told before it is answered');
    t.match(await vault.call('POST', '/v1/authority/rotate'), {
      status: 409,
      body: { code: 'already_exists', message: /authority retire/ },
    });
    const [same, fresh, third] = await roots(vault);
    t.same([same?.fingerprint256, third], [old?.fingerprint256, undefined], 'both are to be trusted');
    t.same(await inHsm(vault), expect(1, 2));

    t.comment('also after the vault was started again and the KEK was rotated');
    await vault.kill();
    vault = await start(installation, where);
    for await (const _ of await vault.open('POST', '/v1/hsm/rotate'));
    const keks = where === 'hsm' ? ['', ''] : ['sallyport-kek-2', 'sallyport-kek-2'];
    t.same(
      rows(installation.database).map(({ kek }) => kek),
      keks,
    );
    t.same(await inHsm(vault), expect(1, 2));
    const both = await chainOf(vault);
    t.equal(both.length, 3);
    t.ok(leadsTo(both, old), 'those that have the old one alone');
    t.ok(leadsTo(both, fresh), 'those that have the new one alone');
    for (const authority of both.slice(1)) {
      const days = (authority.validToDate.getTime() - Date.now()) / 86_400_000;
      t.ok(days < 7 && days > 6.9, 'nothing that is issued lives longer than a week');
    }

    t.match(await vault.call('POST', '/v1/authority/retire'), {
      status: 200,
      body: { made: [], ended: ['proxy'], roots: ['proxy-2'] },
    });
    t.same(
      (await roots(vault)).map(({ fingerprint256 }) => fingerprint256),
      [fresh?.fingerprint256],
    );
    t.same(await inHsm(vault), expect(2), 'its key is destroyed');
    const [gone, left] = rows(installation.database);
    t.match(gone, { id: 'proxy', bytes: 0, kek: '', removed: 1 }, 'and nothing of it is stored');
    t.equal((left?.bytes ?? 0) > 0, where === 'wrapped');
    const last = await chainOf(vault);
    t.equal(last.length, 2);
    t.ok(leadsTo(last, fresh));
    t.notOk(leadsTo(last, old));

    t.match((await vault.call('POST', '/v1/authority/rotate')).body, { made: ['proxy-3'] }, 'and so on');
    t.same(await inHsm(vault), expect(2, 3));
    t.match(
      vault.journal().filter(({ action }) => /^authority\.(rotate|retire)$/.test(action)),
      [
        {
          type: 'admin',
          action: 'authority.rotate',
          subject: 'proxy',
          detail: { made: 'proxy-2', ended: '' },
        },
        { type: 'admin', action: 'authority.retire', subject: 'proxy', detail: { made: '', ended: 'proxy' } },
        {
          type: 'admin',
          action: 'authority.rotate',
          subject: 'proxy',
          detail: { made: 'proxy-3', ended: '' },
        },
      ],
    );
    t.equal((await vault.get('/v1/integrity')).body.state, 'ok');
  });
}

t.test('a store whose root is wrapped goes on with it; the next is made in the HSM', async (t) => {
  const installation = await install();
  let vault = await start(installation, 'wrapped');
  t.teardown(async () => {
    await vault.stop();
    installation.remove();
  });
  await vault.addAgent('bot');
  const [old] = await roots(vault);
  await vault.stop();
  vault = await start(installation, 'hsm');
  t.ok(leadsTo(await chainOf(vault), old));
  t.same(await inHsm(vault), [], 'nothing is made that was not asked for');
  t.match(await vault.call('POST', '/v1/authority/rotate'), { status: 200 });
  const [, fresh] = await roots(vault);
  t.same(await inHsm(vault), ['sallyport-proxy-2']);
  const both = await chainOf(vault);
  t.ok(leadsTo(both, old) && leadsTo(both, fresh), 'each signs where its key is');
  t.match(await vault.call('POST', '/v1/authority/retire'), { status: 200 });
  t.match(rows(installation.database), [
    { id: 'proxy', bytes: 0, removed: 1 },
    { id: 'proxy-2', bytes: 0, removed: 0 },
  ]);
  t.ok(leadsTo(await chainOf(vault), fresh));

  t.comment('and the other way round');
  await vault.stop();
  vault = await start(installation, 'wrapped');
  t.ok(leadsTo(await chainOf(vault), fresh));
  t.match(await vault.call('POST', '/v1/authority/rotate'), { status: 200 });
  t.same(await inHsm(vault), ['sallyport-proxy-2'], 'which a start has not taken for left behind');
});

t.test('what time replaces is made and destroyed in the HSM too', async (t) => {
  const installation = await install();
  t.teardown(() => installation.remove());
  for (const [daysAhead, labels] of [
    [0, ['sallyport-proxy-1']],
    [600, ['sallyport-proxy-1', 'sallyport-proxy-2']],
    [740, ['sallyport-proxy-2']],
  ] as const) {
    const vault = await start(installation, 'hsm', daysAhead);
    t.equal((await leaf(vault)).code, undefined);
    t.same(await inHsm(vault), labels, `${daysAhead} days later`);
    await vault.stop();
  }
});

t.test('an overlap that time began ends by command; a third root may wait while two are shown', async (t) => {
  const installation = await install();
  let vault = await start(installation, 'hsm');
  t.teardown(async () => {
    await vault.stop();
    installation.remove();
  });
  await vault.addAgent('bot');
  t.match(await vault.call('POST', '/v1/authority/rotate'), { status: 200 });
  await vault.stop();
  vault = await start(installation, 'hsm', 600);
  const chain = await chainOf(vault);
  const [first, second, third, ...none] = await roots(vault);
  t.equal(none.length, 0);
  t.ok(leadsTo(chain, first) && leadsTo(chain, second));
  t.match(await vault.call('POST', '/v1/authority/rotate'), { status: 409 });
  t.match((await vault.call('POST', '/v1/authority/retire')).body, {
    ended: ['proxy'],
    roots: ['proxy-2', 'proxy-3'],
  });
  const next = await chainOf(vault);
  t.ok(leadsTo(next, second) && leadsTo(next, third));
  t.notOk(leadsTo(next, first));
});

t.test('a key that is lost is named, and replacing the authority helps', async (t) => {
  const installation = await install();
  let vault = await start(installation, 'hsm');
  t.teardown(async () => {
    await vault.stop();
    installation.remove();
  });
  await vault.addAgent('bot');
  await vault.stop();
  const keyholder = await startKeyholder(installation.hsm);
  await ask(keyholder, { verb: 'authority.destroy', label: 'sallyport-proxy-1' });
  await keyholder.stop();
  vault = await start(installation, 'hsm');
  const { code, header } = await leaf(vault);
  t.equal(code, 'hsm_key_missing');
  t.match(header.message, /sallyport-proxy-1 .*`sallyport authority rotate` and `authority retire`/);
  t.match(await vault.call('POST', '/v1/authority/rotate'), { status: 200 });
  t.match(await vault.call('POST', '/v1/authority/retire'), { status: 200 });
  t.ok(leadsTo(await chainOf(vault), (await roots(vault))[0]));
});

t.test('where the next root cannot be made in time, the one that counts goes on', async (t) => {
  const shim = makeShim();
  const made = await install();
  const installation = { ...made, hsm: { ...made.hsm, module: shim.module } };
  let vault = await start(installation, 'hsm');
  t.teardown(async () => {
    shim.control();
    await vault.stop();
    made.remove();
    shim.remove();
  });
  await vault.addAgent('bot');
  await vault.stop();
  shim.control('fail C_GenerateKeyPair 0x31'); // CKR_DEVICE_MEMORY: the token is full
  vault = await start(installation, 'hsm', 600);
  const [root] = await roots(vault);
  t.ok(leadsTo(await chainOf(vault), root));
  t.match(
    vault.stderr,
    /^sallyport: [^\n]*CKR_DEVICE_MEMORY[^\n]*\n$/,
    'it is said once, however often it is tried',
  );
  t.match(await vault.call('POST', '/v1/authority/rotate'), { body: { code: 'hsm_refused' } });
  await vault.stop();
  vault = await start(installation, 'hsm', 740);
  t.equal((await leaf(vault)).code, 'hsm_refused', 'without any there is no certificate, and why');
  shim.control();
  t.equal((await leaf(vault)).code, undefined, 'until there is room');
  t.same(await inHsm(vault), ['sallyport-proxy-2']);
});

t.test('a key that cannot be destroyed now is said to stay; a wrapped one needs no HSM for it', async (t) => {
  const rootKeys = new RootKeys(new KeyholderClient(() => {}), 'hsm');
  const owner = { id: 'proxy', label: 'sallyport-proxy-1', number: 1 };
  const certificate = Buffer.alloc(0);
  await t.rejects(rootKeys.destroy([{ owner, certificate, key: null }]), {
    code: 'hsm_unavailable',
    message: /^The change is made, but a key .* stays in the HSM until serve is started again: /,
  });
  const key = { sealed: Buffer.alloc(1), dek: Buffer.alloc(1), kek: 'sallyport-kek-1' };
  await t.resolves(rootKeys.destroy([{ owner, certificate, key }]));
});

t.test('without an HSM nothing is replaced', async (t) => {
  const installation = await install();
  const vault = await start(installation, 'hsm');
  t.teardown(async () => {
    await vault.stop();
    installation.remove();
  });
  await vault.addAgent('bot');
  vault.keyholder?.kill('SIGKILL');
  await vault.until('it is gone', async () => (await vault.get('/v1/status')).body.hsm.state !== 'ok');
  t.match(await vault.call('POST', '/v1/authority/rotate'), {
    status: 503,
    body: { code: 'hsm_unavailable' },
  });
  t.equal((await roots(vault)).length, 1);
  await vault.startKeyholder();
  await vault.until('it is back', async () => (await vault.get('/v1/status')).body.hsm.state === 'ok');
  t.match((await vault.call('POST', '/v1/authority/rotate')).body, { made: ['proxy-2'] });
});
