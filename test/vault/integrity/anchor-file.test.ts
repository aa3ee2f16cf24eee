import { copyFileSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ACME, install, TestVault } from '../../support/vault.ts';

t.setTimeout(120_000); // each start is two processes
const installation = await install();
const { database, folder } = installation;
const anchor = join(folder, 'vault', 'anchor');
t.teardown(() => installation.remove());
const start = () => TestVault.start(installation, { anchorFile: '/proc/self/fd/4/anchor' });
/** Files as they were, put back where no vault runs. */
const copies = (name: string) => ({ database: `${database}.${name}`, anchor: `${anchor}.${name}` });
const keep = (name: string): void => {
  copyFileSync(database, copies(name).database);
  copyFileSync(anchor, copies(name).anchor);
};
const putBack = (from: Partial<ReturnType<typeof copies>>): void => {
  for (const end of ['-wal', '-shm']) rmSync(`${database}${end}`, { force: true });
  if (from.database) copyFileSync(from.database, database);
  if (from.anchor) copyFileSync(from.anchor, anchor);
};
/** What the next vault finds wrong, and the counter that the anchor names. */
async function found(): Promise<{ integrity: string | null; anchored: number | undefined }> {
  const vault = await start();
  try {
    const worker = await vault.worker();
    const { body } = await vault.get('/v1/integrity');
    return { integrity: worker.policy.integrity, anchored: body.anchored?.counter };
  } finally {
    await vault.stop();
  }
}

const vault = await start();
await vault.worker();
await vault.call('POST', '/v1/services', { services: [ACME] });
await vault.addAgent('bot');
await vault.stop();
keep('older');
const again = await start();
await again.worker();
await again.addAgent('other');
await again.stop();
keep('sound');

t.test('the newest state is anchored in a file, under the MAC of the HSM', async (t) => {
  const content = JSON.parse(readFileSync(anchor, 'utf8'));
  t.match(content, { format: 1, mac: /^[0-9a-f]{64}$/ });
  const { state } = JSON.parse(content.anchor);
  t.same(await found(), { integrity: null, anchored: state.counter });
  const older = JSON.parse(JSON.parse(readFileSync(copies('older').anchor, 'utf8')).anchor);
  t.ok(state.counter > older.state.counter, 'it follows each change');
});

t.test('an older database is found by it', async (t) => {
  putBack({ ...copies('sound'), database: copies('older').database });
  t.match((await found()).integrity, /The database is an older one/);
});

t.test('a file that the HSM did not have a part in is no anchor', async (t) => {
  const sound = readFileSync(copies('sound').anchor, 'utf8');
  const { mac, anchor: named } = JSON.parse(sound);
  const lowered = JSON.parse(named);
  lowered.state.counter = 1;
  const other = `${mac[0] === '0' ? '1' : '0'}${mac.slice(1)}`;
  for (const text of [
    '',
    'nonsense',
    JSON.stringify({ format: 1, anchor: JSON.stringify(lowered), mac }),
    JSON.stringify({ format: 1, anchor: named, mac: other }),
    JSON.stringify({ format: 2, anchor: named, mac }),
    sound.padEnd(5_000),
  ]) {
    putBack(copies('sound'));
    writeFileSync(anchor, text);
    t.match(await found(), {
      integrity: /The anchor file holds an anchor that this vault did not write/,
      anchored: undefined,
    });
  }
});

t.test('without the file nothing is served, and accepting the state writes it anew', async (t) => {
  putBack(copies('sound'));
  rmSync(anchor);
  const vault = await start();
  const worker = await vault.worker();
  t.match(worker.policy.integrity, /The anchor file holds no anchor for this database/);
  const { body } = await vault.get('/v1/integrity');
  const accepted = await vault.call('POST', '/v1/integrity/accept', { digest: body.head.digest });
  t.equal(accepted.status, 200);
  await vault.until('it is served', () => worker.policy.integrity === null);
  await vault.stop();
  t.equal((await found()).integrity, null);
});

t.test('a change that cannot be anchored is told as such, and anchored later', async (t) => {
  putBack(copies('sound'));
  const vault = await start();
  const worker = await vault.worker();
  mkdirSync(`${anchor}.new`); // in the way of the new file
  const { status, body } = await vault.call('POST', '/v1/agents', {
    name: 'third',
    tokenHash: 'ab'.repeat(32),
  });
  t.match(
    { status, body },
    { status: 503, body: { code: 'store_unavailable', message: /The change is made, but.*anchor file/ } },
  );
  rmdirSync(`${anchor}.new`);
  t.equal(worker.policy.integrity, null);
  await vault.stop();
  t.equal(
    (await found()).integrity,
    null,
    'a state ahead of its anchor is accepted, where the vault signed it',
  );
});

t.test(
  'its limit: an older file together with the database that it belonged to goes unnoticed',
  async (t) => {
    putBack(copies('older'));
    t.equal((await found()).integrity, null);
  },
);
