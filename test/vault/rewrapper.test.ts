import t from 'tap';
import { KeyholderClient } from '../../src/vault/keyholder.ts';
import { Rewrapper } from '../../src/vault/lifecycle/rewrapper.ts';
import type { Wrapping } from '../../src/vault/lifecycle/wrapping.ts';
import { makeToken, startKeyholder } from '../support/softhsm.ts';

t.setTimeout(60_000);
const { hsm } = makeToken();
const keyholder = await startKeyholder(hsm);
t.teardown(async () => {
  await keyholder.stop();
  hsm.remove();
});
const client = new KeyholderClient(() => {});
await client.connect('keyholder', keyholder.channel);
const COMMON = { created_at: '', removed_at: null, generation: 1, mac: Buffer.alloc(0), secret_fields: '[]' };
const UNSAID = { first_kek: null, public_fields: null, destinations: null, hsm_key: null };

/** A version whose DEK is full of its number. */
async function wrapping(version: number): Promise<Wrapping> {
  const aad = Buffer.from(`version ${version}`);
  const { wrapped: dek, kek } = await client.wrap(Buffer.alloc(32, version), aad);
  const row = { ...COMMON, ...UNSAID, credential: 'crd_1', version, sealed: Buffer.alloc(0), dek, kek };
  return {
    entry: { table: 'credential_versions', row },
    which: 'newest',
    kek,
    dek,
    binding: () => aad,
    with: (next, to) => ({ table: 'credential_versions', row: { ...row, dek: next, kek: to } }),
  };
}

t.test('many DEKs come from one KEK to the next, each in its own row', async (t) => {
  const all = await Promise.all(Array.from({ length: 100 }, (_, index) => wrapping(index)));
  const { kek } = await client.rotate('sallyport-kek-1');
  await client.refresh();
  const rewrapped = await new Rewrapper(client).rewrap(all, kek);
  t.same(
    rewrapped.map((each) => each.wrapping),
    all,
  );
  for (const [index, { entry }] of rewrapped.entries()) {
    if (entry.table !== 'credential_versions' || !entry.row.dek) throw new Error('another row');
    t.equal(entry.row.kek, kek);
    t.same(await client.unwrap(entry.row.dek, Buffer.from(`version ${index}`), kek), Buffer.alloc(32, index));
  }
});

t.test('one that does not open is named, and nothing is kept of the others', async (t) => {
  const all = await Promise.all([1, 2, 3].map(wrapping));
  const { kek } = await client.rotate('sallyport-kek-2');
  await client.refresh();
  const altered = Buffer.from(all[1]?.dek ?? '');
  altered.writeUInt8(altered.readUInt8(20) ^ 1, 20);
  const broken = all.map((each, index) => (index === 1 ? { ...each, dek: altered } : each));
  await t.rejects(new Rewrapper(client).rewrap(broken, kek), {
    code: 'hsm_refused',
    message: /^The data key of credential_versions\/crd_1\/2 does not open under sallyport-kek-2/,
  });
});
