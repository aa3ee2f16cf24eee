import { createVerify, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { decodeHead } from '../../src/backup/format.ts';
import { openToken, PIN_ENTRY } from '../../src/backup/seal-token.ts';
import { decodeFields } from '../../src/sealing/fields.ts';
import { openWritable } from '../../src/store/open.ts';
import { listVersions } from '../../src/store/versions.ts';
import { storedRoot } from '../../src/vault/authorities/proxy-row.ts';
import { RootKeys } from '../../src/vault/authorities/root-keys.ts';
import { destinationsOf } from '../../src/vault/credentials/binding.ts';
import { openVersion, pinned } from '../../src/vault/credentials/versions.ts';
import { TokenAnchor } from '../../src/vault/integrity/anchor-place.ts';
import { KeyholderClient } from '../../src/vault/keyholder.ts';
import { Policy } from '../../src/vault/policy/policy.ts';
import { makeSoftHsm, type SoftHsm, startKeyholder } from '../support/softhsm.ts';

const FIXTURES = fileURLToPath(new URL('./fixtures/', import.meta.url));
const PASSPHRASE = Buffer.from('the passphrase of a fixture');
/** The values that were kept: the first of three had been shredded. */
const VALUES = ['another value', 'second value', 'third value'];

t.setTimeout(120_000);
const fixtures = readdirSync(FIXTURES).filter((name) => name.endsWith('.backup'));

t.ok(fixtures.length >= 2);
for (const fixture of fixtures) {
  t.test(`${fixture} opens, and can be written to`, async (t) => {
    const { hsm, database } = unpack(fixture);
    t.teardown(() => hsm.remove());
    const keyholder = await startKeyholder(hsm);
    const store = await openWritable(database);
    try {
      const client = new KeyholderClient(() => {});
      await client.connect('keyholder', keyholder.channel);
      const policy = new Policy(store, client, new TokenAnchor(client));
      await policy.load();
      t.same(policy.failures, []);
      t.same((await opened(policy, client)).sort(), VALUES);
      const [agent] = policy.state.agents();
      if (!agent) throw new Error('the agent is missing');
      t.equal(agent.name, 'bot');
      for (const row of policy.state.authorities()) {
        const { sign, certificate } = new RootKeys(client, 'hsm').signing(() => storedRoot(row));
        const { publicKey } = new X509Certificate(certificate);
        const signed = createVerify('sha256').update('message');
        t.ok(
          signed.verify(publicKey, await sign(Buffer.from('message'))),
          'its sealed key of the listener signs',
        );
      }
      t.equal(policy.state.authorities().length, 1);
      checkShredded(t, policy, fixture);
      await pinVersions(t, policy, client);
      await policy.commit([{ table: 'agents', row: { ...agent, name: 'renamed' } }]);
      await policy.anchor();
      const again = new Policy(store, client, new TokenAnchor(client));
      await again.load();
      t.same(again.failures, []);
      t.equal(again.state.agents()[0]?.name, 'renamed');
      t.same((await opened(again, client)).sort(), VALUES);
    } finally {
      store.close();
      await keyholder.stop();
    }
  });
}

/** Rows that were shredded before KEKs were noted say that they do not know. */
function checkShredded(t: Test, policy: Policy, fixture: string): void {
  const held = new Set<string>();
  const versions = listVersions(policy.state.rows(), { service: 'acme', label: 'default' }, held);
  const noted = fixture >= '0006' && {
    keys: ['sallyport-kek-1', 'sallyport-kek-2'],
    left: [],
    complete: true,
  };
  t.match(
    versions.map(({ shredding }) => shredding),
    [null, null, noted || { keys: null, left: null, complete: null }],
  );
}

/** Earlier versions of any form open after their service has got other hosts, once their rows say what they were sealed for. */
async function pinVersions(t: Test, policy: Policy, client: KeyholderClient): Promise<void> {
  const { state } = policy;
  const service = state.service('acme');
  const credential = state.credentialsOf('acme').find(({ label }) => label === 'default');
  if (!service || !credential) throw new Error('the credential is missing');
  const [, earlier] = state.heldVersions(credential);
  if (!earlier) throw new Error('the earlier version is missing');
  await policy.commit(pinned(service, credential, [earlier]));
  const row = state.version(credential.id, earlier.version);
  if (!row) throw new Error('the earlier version is gone');
  const other = { ...service, definition: service.definition.replace('api.acme.example', 'evil.example') };
  const fields = decodeFields(await openVersion(client, other, credential, row));
  t.same(
    fields.map(({ value }) => String(value)),
    ['second value'],
  );
  t.notOk(destinationsOf(other, credential.public_fields).equals(row.destinations ?? Buffer.alloc(0)));
}

/** Takes a backup apart: its database and its token, the PIN beside it. */
function unpack(fixture: string): { hsm: SoftHsm; database: string } {
  const bytes = readFileSync(join(FIXTURES, fixture));
  const { manifest, length } = decodeHead(bytes);
  const middle = length + manifest.database.bytes;
  const empty = makeSoftHsm('sallyport');
  rmSync(empty.pinFile);
  let pin = '';
  for (const { name, bytes: content } of openToken(
    bytes.subarray(middle),
    PASSPHRASE,
    manifest.installation,
  )) {
    const path = name === PIN_ENTRY ? empty.pinFile : join(empty.folder, name);
    if (name === PIN_ENTRY) pin = String(content).trim();
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content, { mode: 0o600 });
  }
  const database = join(mkdtempSync(join(tmpdir(), 'sallyport-fixture-')), 'sallyport.db');
  writeFileSync(database, bytes.subarray(length, middle));
  const remove = (): void => {
    empty.remove();
    rmSync(dirname(database), { recursive: true });
  };
  return { hsm: { ...empty, pin, remove }, database };
}

async function opened(policy: Policy, client: KeyholderClient): Promise<string[]> {
  const values: string[] = [];
  for (const version of policy.state.rows().credential_versions) {
    const credential = policy.state.credential(version.credential);
    const service = credential && policy.state.service(credential.service);
    if (!credential || !service || version.sealed === null) continue;
    const fields = decodeFields(await openVersion(client, service, credential, version));
    values.push(...fields.map(({ value }) => String(value)));
  }
  return values;
}
