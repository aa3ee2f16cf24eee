import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import SQLite from 'better-sqlite3';
import t, { type Test } from 'tap';
import { z } from 'zod';
import { AgentTunnel } from '../support/agent.ts';
import { cli } from '../support/sallyport.ts';
import { SERVICES, startScene } from '../support/scene.ts';
import { valuesOf } from '../support/upstream.ts';

t.setTimeout(180_000);
const REGIONAL = {
  id: 'regional',
  hosts: [{ pattern: '{region}.regional.test' }],
  auth: { inject: [{ in: 'header', name: 'X-Api-Key', value: '{key}' }] },
  fields: [{ key: 'region', secret: false }, { key: 'key' }],
};
const folder = mkdtempSync(join(tmpdir(), 'sallyport-versions-'));
const config = join(folder, 'settings.json');
writeFileSync(config, '{"keepVersions":3}');
const Versions = z.array(z.object({ shredding: z.unknown() }));
const scene = await startScene({
  hosts: ['bearer.test:443', 'eu.regional.test:443', 'us.regional.test:443'],
  flags: ['--workers', '1', '--config', config],
  services: [...SERVICES, REGIONAL],
});
const { sallyport } = scene;
t.teardown(scene.remove);
t.teardown(() => rmSync(folder, { recursive: true }));
const bot = await scene.addAgent('bot');
const id = await scene.setCredential('bearer', 'value-1', { agents: ['bot'] });
for (const value of ['value-2', 'value-3', 'value-4']) await scene.setCredential('bearer', value);

t.test('as many versions are kept as the settings say', async (t) => {
  t.match(await states(), ['4 current', '3 kept', '2 kept', '1 shredded']);
  t.match(
    (await sallyport.cli(['credential', 'versions', 'bearer'])).stdout,
    /^4 +current +sallyport-kek-1 /m,
  );
  t.match(await sallyport.failure(['credential', 'versions', 'keyed']), /\[not_found\]\n$/);
});

t.test('a rollback is in force when the command ends, as a new version', async (t) => {
  t.match(await sallyport.json(['credential', 'rollback', 'bearer']), { id, version: 5, from: 3 });
  await gets(t, 'value-3');
  t.match(await states(), ['5 current', '4 kept', '3 kept', '2 shredded', '1 shredded']);
  t.match(await sallyport.json(['credential', 'rollback', 'bearer', '--to', '4']), { version: 6, from: 4 });
  await gets(t, 'value-4');
  for (const [to, code] of [
    ['1', 'credential_missing'],
    ['6', 'invalid_argument'],
    ['77', 'credential_missing'],
    ['x', 'invalid_argument'],
  ] as const)
    t.match(
      await sallyport.failure(['credential', 'rollback', 'bearer', '--to', to]),
      new RegExp(`^1 sallyport: [^\\n]+ \\[${code}\\]\\n$`),
      to,
    );
  t.match(await sallyport.failure(['credential', 'rollback', 'keyed']), /\[not_found\]\n$/);
  await gets(t, 'value-4');
});

t.test('one version is shredded, wherever it stands, and its bytes are gone', async (t) => {
  const database = join(sallyport.data, 'vault', 'sallyport.db');
  const sealed = sealedOf(database, 5);
  const shred = ['credential', 'shred', id, '--version'];
  t.match(await sallyport.json([...shred, '5']), {
    ...{ id, version: 5, keys: ['sallyport-kek-1'], left: ['sallyport-kek-1'], complete: false },
  });
  for (const file of [database, `${database}-wal`]) t.notOk(readFileSync(file).includes(sealed), file);
  t.match(await states(), ['6 current', '5 shredded', '4 kept', '3 shredded', '2 shredded', '1 shredded']);
  t.match(await sallyport.failure([...shred, '5']), /\[not_found\]\n$/);
  t.match(await sallyport.failure([...shred, '6']), /is in use[^\n]+\[invalid_argument\]\n$/);
  t.match(await sallyport.failure(['credential', 'shred', 'crd_none', '--version', '1']), /\[not_found\]\n$/);
  t.match(
    await sallyport.json(['credential', 'rollback', 'bearer']),
    { version: 7, from: 4 },
    'past the gap',
  );
  await sallyport.cli(['credential', 'remove', id]);
  const db = new SQLite(database, { readonly: true });
  t.same(db.prepare('SELECT count(*) AS held FROM credential_versions WHERE sealed IS NOT NULL').get(), {
    held: 0,
  });
  db.close();
});

t.test(
  'a version keeps the public fields that it was set with, and is rolled back to with them',
  async (t) => {
    await scene.setCredential('regional', 'one', { fields: ['region=eu'], agents: ['bot'] });
    await scene.setCredential('regional', 'two', { fields: ['region=us'] });
    t.match(await states('regional'), ['2 current', '1 kept'], 'nothing is shredded for another field');
    await sallyport.cli(['hsm', 'rotate']);
    t.match(await sallyport.json(['credential', 'rollback', 'regional']), {
      ...{ version: 3, from: 1, publicFields: { region: 'eu' }, fieldsChanged: true, shredded: [] },
    });
    t.match(await sallyport.json(['credential', 'list']), [
      { service: 'regional', publicFields: { region: 'eu' } },
    ]);
    await gets(t, 'one', 'eu.regional.test', 'x-api-key');
    const { stdout } = await sallyport.cli(['credential', 'rollback', 'regional', '--to', '2']);
    t.match(
      stdout,
      /^regional "default" is at version 4, with the value of version 2 and its public fields \(region=us\)\. Version 1 was shredded/,
    );
    await gets(t, 'two', 'us.regional.test', 'x-api-key');
    const set = await sallyport.cli(['credential', 'set', 'regional'], { stdin: 'five' });
    t.match(
      set.stdout,
      /version 5 \(credential crd_\w+\)\. Version 2 was shredded: older than those that are kept/,
    );
  },
);

t.test('another definition strands earlier versions instead of shredding them', async (t) => {
  const file = join(folder, 'regional.json');
  const redefine = async (hosts: string) => {
    writeFileSync(file, JSON.stringify({ ...REGIONAL, hosts: [{ pattern: hosts }] }));
    return sallyport.cli(['service', 'add', '--file', file]);
  };
  const { stderr } = await redefine('{region}.elsewhere.test');
  t.match(
    stderr,
    /are kept, and can be rolled back to under the definition of then only: crd_\w+\/4 crd_\w+\/3\n$/,
  );
  t.match(await states('regional'), ['5 current', '4 kept', '3 kept']);
  t.match(
    await sallyport.failure(['credential', 'rollback', 'regional']),
    /^1 sallyport: Version 4 was set when regional went elsewhere[^\n]+\[invalid_credential\]\n$/,
  );
  await sallyport.cli(['hsm', 'rotate']); // it is rewrapped all the same
  t.equal((await redefine('{region}.regional.test')).stderr, '');
  t.match(await sallyport.json(['credential', 'rollback', 'regional', '--to', '3']), { version: 6, from: 3 });
  await gets(t, 'one', 'eu.regional.test', 'x-api-key');
});

t.test('a shredded version says which KEKs are left that open a copy of it, until none is', async (t) => {
  await scene.setCredential('keyed', 'one'); // under KEK 3
  await sallyport.cli(['hsm', 'rotate']);
  await scene.setCredential('keyed', 'two');
  const shred = ['credential', 'shred', 'keyed', '--version', '1'];
  const { stderr } = await sallyport.cli(shred);
  t.match(
    stderr,
    /as long as one of these keys exists: sallyport-kek-3, sallyport-kek-4\. .*Backups of the token/,
  );
  const shredding = async () => {
    const [, first] = Versions.parse(await sallyport.json(['credential', 'versions', 'keyed']));
    return first?.shredding;
  };
  const keys = ['sallyport-kek-3', 'sallyport-kek-4'];
  t.same(await shredding(), { keys, left: keys, complete: false });
  await sallyport.cli(['hsm', 'rotate']);
  await sallyport.cli(['hsm', 'retire', 'sallyport-kek-4']);
  t.same(
    await shredding(),
    { keys, left: ['sallyport-kek-3'], complete: false },
    'the older one opens backups still',
  );
  const { stdout } = await sallyport.cli(['credential', 'versions', 'keyed']);
  t.match(stdout, / no: destroy sallyport-kek-3 /);
  t.match(
    (await sallyport.cli(['hsm', 'retire', 'sallyport-kek-3'])).stderr,
    /Backups of the token from before .+ still hold/,
  );
  t.same(await shredding(), { keys, left: [], complete: true });
});

t.test('a removed credential can still be looked up, and is named by its service too', async (t) => {
  const removed = await sallyport.cli(['credential', 'remove', 'keyed']);
  const [, named = ''] = /sallyport credential versions (crd_\w+)\n$/.exec(removed.stderr) ?? [];
  t.match(
    removed.stderr,
    /as long as this key exists: sallyport-kek-5\. It is complete once it is destroyed/,
  );
  t.match(await sallyport.json(['credential', 'versions', named]), [
    {
      version: 2,
      shredding: { keys: ['sallyport-kek-4', 'sallyport-kek-5'], left: ['sallyport-kek-5'], complete: false },
    },
    { version: 1, shredding: { complete: true } },
  ]);
  t.match(await sallyport.failure(['credential', 'remove', 'keyed']), /\[not_found\]\n$/);
});

t.test('the list works where no vault runs, and the version is still printed', async (t) => {
  await sallyport.stop();
  t.match(await states('regional'), ['6 current', '5 kept', '4 kept']);
  const listed = await sallyport.cli(['credential', 'versions', 'regional']);
  t.match(
    listed.stdout,
    / not known: once gone are sallyport-kek-1 sallyport-kek-2 /,
    'nobody asks the token',
  );
  t.match((await cli(['--version'])).stdout, /^\d+\.\d+\.\d+\n$/);
});

async function states(service = 'bearer'): Promise<string[]> {
  const { stdout } = await sallyport.cli(['credential', 'versions', service]);
  return stdout
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(/ +/).slice(0, 2).join(' '));
}

async function gets(t: Test, value: string, host = 'bearer.test', field = 'authorization'): Promise<void> {
  scene.upstream.forget();
  const tunnel = await AgentTunnel.open(sallyport.proxy, bot, host);
  t.equal((await tunnel.request('/')).status, 200);
  tunnel.close();
  t.same(valuesOf(scene.upstream.last, field), [field === 'authorization' ? `Bearer ${value}` : value]);
}

function sealedOf(database: string, version: number): Buffer {
  const db = new SQLite(database, { readonly: true });
  const row = db
    .prepare<number[], { sealed: Buffer }>('SELECT sealed FROM credential_versions WHERE version = ?')
    .get(version);
  db.close();
  if (!row) throw new Error('no such version');
  return row.sealed;
}
