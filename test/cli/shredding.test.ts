import { join } from 'node:path';
import t from 'tap';
import { z } from 'zod';
import { cli } from '../support/sallyport.ts';
import { startScene } from '../support/scene.ts';

/*
 * What is said of a shredded version, against what becomes of it: while a KEK is left that is named, a backup from the time of that
 * KEK gives the value back; once none is, none does.
 */
t.setTimeout(180_000);
const scene = await startScene({ flags: ['--workers', '1'] });
let { sallyport } = scene;
t.teardown(scene.remove);
t.teardown(() => sallyport.stop());
const backups = ['one', 'two'].map((name) => join(sallyport.data, '..', `${name}.backup`));
const Versions = z.array(z.object({ version: z.number(), shredding: z.unknown() }));
const keys = ['sallyport-kek-1', 'sallyport-kek-2'];

await scene.setCredential('bearer', 'to be shredded');
await sallyport.cli(['backup', 'create', backups[0] ?? '']);
await sallyport.cli(['hsm', 'rotate']);
await sallyport.cli(['backup', 'create', backups[1] ?? '']);
await scene.setCredential('bearer', 'another');
await sallyport.cli(['credential', 'shred', 'bearer', '--version', '1']);

async function shredding(): Promise<unknown> {
  const versions = Versions.parse(await sallyport.json(['credential', 'versions', 'bearer']));
  return versions.find(({ version }) => version === 1)?.shredding;
}

/** Puts a backup in which the version is whole back into this very folder, and takes it for the right state. */
async function putBack(backup: string): Promise<void> {
  await sallyport.stop();
  await sallyport.cli(['backup', 'restore', backup]);
  sallyport = await sallyport.restart();
  const { stderr } = await cli(['--data', sallyport.data, 'integrity', 'accept']);
  const [, digest = ''] = /--digest ([0-9a-f]{64})/.exec(stderr) ?? [];
  await sallyport.cli(['integrity', 'accept', '--yes', '--digest', digest]);
}

/** Whether the vault opens the version's value: a definition with other hosts has it sealed anew. */
async function opens(): Promise<string> {
  const service = {
    id: 'bearer',
    hosts: [{ pattern: `h${Date.now()}.test` }],
    auth: { inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }] },
    fields: [{ key: 'token' }],
  };
  const { code, stderr } = await cli(['--data', sallyport.data, 'service', 'add', '--file', '-'], {
    stdin: JSON.stringify(service),
  });
  return code === 0 ? 'opened' : stderr;
}

t.test('it is not complete while one of its KEKs is left, and then a backup gives it back', async (t) => {
  t.same(await shredding(), { keys, left: keys, complete: false });
  await sallyport.cli(['hsm', 'retire', 'sallyport-kek-1']);
  t.same(await shredding(), { keys, left: ['sallyport-kek-2'], complete: false });
  await putBack(backups[1] ?? '');
  t.equal(await opens(), 'opened', 'the KEK that was named opens it');
});

t.test('it is complete when the last of them is destroyed, and then no backup does', async (t) => {
  await scene.setCredential('bearer', 'another');
  await sallyport.cli(['credential', 'shred', 'bearer', '--version', '1']);
  await sallyport.cli(['hsm', 'rotate']);
  await sallyport.cli(['hsm', 'retire', 'sallyport-kek-2']);
  t.same(await shredding(), { keys, left: [], complete: true });
  for (const backup of backups) {
    await putBack(backup);
    t.match(await opens(), /\[hsm_key_missing\]\n$/);
  }
});
