import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import t from 'tap';
import { readPem } from '../../../certs/pem.ts';
import { install, TestVault } from '../../support/vault.ts';
import type { WorkerPeer } from '../../support/worker-peer.ts';
import { leadsTo } from './authority.ts';

const installation = await install();
t.teardown(() => installation.remove());

const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spki = publicKey.export({ type: 'spki', format: 'der' });

async function authorities(vault: TestVault, agent: string): Promise<X509Certificate[]> {
  const { pem } = (await vault.get(`/v1/agents/${agent}/ca`)).body;
  return readPem(pem).map((der) => new X509Certificate(der));
}

function ask(worker: WorkerPeer) {
  return worker.ask({ type: 'listener-leaf' }, [spki]);
}

t.test('every agent trusts the authority of the TLS listener, which is one and stays', async (t) => {
  const vault = await TestVault.start(installation);
  await vault.addAgent('one');
  await vault.addAgent('two');
  const [own, proxy, more] = await authorities(vault, 'one');
  const [other, same] = await authorities(vault, 'two');
  t.match(own?.subject, /CN=Sallyport agent one/);
  t.match(proxy?.subject, /CN=Sallyport proxy/);
  t.equal(more, undefined);
  t.not(own?.fingerprint256, other?.fingerprint256);
  t.equal(proxy?.fingerprint256, same?.fingerprint256);
  t.equal(
    (await ask(await vault.worker())).code,
    'policy_denied',
    'without such a listener it signs nothing',
  );
  const lines = vault.journal().filter(({ action }) => action === 'authority.add');
  t.match(lines, [{ type: 'admin', subject: 'proxy' }]);
  await vault.stop();
});

t.test('a worker gets a certificate of the names that serve was told, and of no other', async (t) => {
  const names = ['proxy.example', '127.0.0.1', '::1', 'host-1'];
  const vault = await TestVault.start(installation, { names });
  const [, root] = await authorities(vault, 'one');
  const worker = await vault.worker('worker-9-1');
  const { code, header, parts } = await ask(worker);
  t.equal(code, undefined);
  const [leaf, issuing] = readPem(parts[0]?.toString('latin1') ?? '').map((der) => new X509Certificate(der));
  if (!leaf || !issuing || !root) throw new Error('the chain is not whole');
  t.ok(issuing.verify(root.publicKey) && issuing.checkIssued(root), 'the chain ends at that authority');
  t.ok(leaf.verify(issuing.publicKey) && leaf.checkIssued(issuing));
  t.ok(leaf.publicKey.equals(publicKey), 'it is for the key of the worker');
  for (const name of names)
    t.ok(name.includes(':') || /^\d/.test(name) ? leaf.checkIP(name) : leaf.checkHost(name), name);
  t.notOk(leaf.checkHost('other.example'));
  t.ok(header.notAfter > Date.now() && header.notAfter <= Date.now() + 24 * 3_600_000);
  t.match(
    vault
      .journal()
      .filter(({ action }) => action === 'listener-leaf')
      .at(-1),
    { type: 'release', subject: 'proxy', detail: { worker: 'worker-9-1' } },
  );
  t.equal((await worker.ask({ type: 'listener-leaf' }, [Buffer.from('no key')])).code, 'bad_request');
  await vault.stop();
});

t.test('before its root ends there is the next, and clients that have either are served', async (t) => {
  const names = ['proxy.example'];
  const chainOf = async (daysAhead: number) => {
    const vault = await TestVault.start(installation, { names, daysAhead });
    const { code, parts } = await ask(await vault.worker());
    const roots = (await authorities(vault, 'one')).filter(({ subject }) => subject.includes('proxy'));
    const chain = readPem(parts[0]?.toString('latin1') ?? '').map((der) => new X509Certificate(der));
    const renewals = vault.journal().filter(({ action }) => action === 'authority.renew').length;
    await vault.stop();
    return { code, roots, chain, renewals };
  };

  const first = await chainOf(0);
  t.same([first.roots.length, first.chain.length, first.renewals], [1, 2, 0]);

  const overlapping = await chainOf(600);
  const [old, next] = overlapping.roots;
  t.same([overlapping.roots.length, overlapping.renewals], [2, 1], 'made once, 130 days before the end');
  t.equal(old?.fingerprint256, first.roots[0]?.fingerprint256);
  t.ok(leadsTo(overlapping.chain, old), 'those that have the old one alone');
  t.ok(leadsTo(overlapping.chain, next), 'those that have the new one alone');

  const after = await chainOf(740);
  t.same([after.roots.length, after.chain.length], [1, 2], 'the old one is gone with its key');
  t.equal(after.roots[0]?.fingerprint256, next?.fingerprint256);
  t.ok(leadsTo(after.chain, next));

  const late = await chainOf(3_000);
  t.same([late.code, late.roots.length, late.chain.length], [undefined, 1, 2], 'nobody looked for years');
  t.ok(leadsTo(late.chain, late.roots[0]));
});

t.test('the key does not open anywhere but in its place', async (t) => {
  const { default: SQLite } = await import('better-sqlite3');
  const db = new SQLite(installation.database);
  const agent = db
    .prepare<[], { root_key_sealed: Buffer; root_key_dek: Buffer }>('SELECT * FROM agents')
    .get();
  db.prepare('UPDATE authorities SET key_sealed = ?, key_dek = ?').run(
    agent?.root_key_sealed,
    agent?.root_key_dek,
  );
  db.close();
  const vault = await TestVault.start(installation, { names: ['proxy.example'] });
  const worker = await vault.worker();
  t.match(worker.policy.integrity, /row proxy of authorities/);
  t.equal((await ask(worker)).code, 'integrity_failed');
  await vault.kill();
});
