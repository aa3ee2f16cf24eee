import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import SQLite from 'better-sqlite3';
import t, { type Test } from 'tap';
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
const scene = await startScene({
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
  t.match(await sallyport.json([...shred, '5']), { id, version: 5, kek: 'sallyport-kek-1' });
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

t.test('with other public fields older values are not kept: they could never be opened', async (t) => {
  await scene.setCredential('regional', 'one', { fields: ['region=eu'] });
  await scene.setCredential('regional', 'two', { fields: ['region=eu'] });
  t.match(await states('regional'), ['2 current', '1 kept']);
  await scene.setCredential('regional', 'three', { fields: ['region=us'] });
  t.match(await states('regional'), ['3 current', '2 shredded', '1 shredded']);
  t.match(await sallyport.failure(['credential', 'rollback', 'regional']), /\[credential_missing\]\n$/);
});

t.test('the list works where no vault runs, and the version is still printed', async (t) => {
  await sallyport.stop();
  t.match(await states('regional'), ['3 current', '2 shredded', '1 shredded']);
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

async function gets(t: Test, value: string): Promise<void> {
  scene.upstream.forget();
  const tunnel = await AgentTunnel.open(sallyport.proxy, bot, 'bearer.test');
  t.equal((await tunnel.request('/')).status, 200);
  tunnel.close();
  t.same(valuesOf(scene.upstream.last, 'authorization'), [`Bearer ${value}`]);
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
