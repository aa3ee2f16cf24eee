import { X509Certificate } from 'node:crypto';
import SQLite from 'better-sqlite3';
import t from 'tap';
import { readPem } from '../../../certs/pem.ts';
import { AuthoritiesReply } from '../../../src/channel/messages/keyholder.ts';
import { ask } from '../../keyholder/ask.ts';
import { startKeyholder } from '../../support/softhsm.ts';
import { ACME, install, TestVault } from '../../support/vault.ts';
import { workerKey } from './authority.ts';

t.setTimeout(120_000);
const { spki } = workerKey();

interface KeyInfo {
  readonly label: string;
  readonly extractable: boolean;
  readonly sensitive: boolean;
  readonly neverExtractable: boolean;
  readonly local: boolean;
}

/** The authorities' keys, as the HSM reports them. */
async function authorityKeys(vault: TestVault): Promise<KeyInfo[]> {
  const { body } = await vault.get('/v1/status');
  return body.hsm.info.keys.filter(({ label }: KeyInfo) => label.startsWith('agt_'));
}

/** The chain of a fresh leaf, leaf first. */
async function chainOf(vault: TestVault, agent: { id: string; token: Buffer }): Promise<X509Certificate[]> {
  const worker = await vault.worker();
  const asked = { type: 'leaf', agent: agent.id, host: 'api.acme.example', port: 443 } as const;
  const { parts, code } = await worker.ask(asked, [agent.token, spki]);
  if (!parts[0]) throw new Error(`no leaf: ${code}`);
  return readPem(parts[0].toString()).map((der) => new X509Certificate(der));
}

function roots(pem: string): X509Certificate[] {
  return readPem(pem)
    .map((der) => new X509Certificate(der))
    .filter(({ subject }) => subject.includes('Sallyport agent'));
}

/** Whether each certificate of the chain is signed by the next, and the last by `root`. */
function leadsTo(chain: readonly X509Certificate[], root: X509Certificate | undefined): boolean {
  const above = [...chain.slice(1), root];
  return chain.every((each, index) => {
    const issuer = above[index];
    return issuer !== undefined && each.checkIssued(issuer) && each.verify(issuer.publicKey);
  });
}

for (const authorityKeysAre of ['hsm', 'wrapped'] as const) {
  t.test(`${authorityKeysAre}: an agent's root is replaced while both are trusted`, async (t) => {
    const installation = await install();
    let vault = await TestVault.start(installation, { authorityKeys: authorityKeysAre });
    t.teardown(async () => {
      await vault.stop();
      installation.remove();
    });
    const inHsm = async (): Promise<string[]> =>
      (await authorityKeys(vault)).map(({ label }) => label).sort();
    const expect = (...numbers: number[]): string[] =>
      authorityKeysAre === 'hsm' ? numbers.map((number) => `${bot.id}-${number}`) : [];
    await vault.call('POST', '/v1/services', { services: [ACME] });
    const bot = await vault.addAgent('bot');
    await vault.setCredential('acme', { token: 'value' }, { agents: ['bot'] });
    t.same(await inHsm(), expect(1));
    for (const key of await authorityKeys(vault)) {
      t.match(key, { extractable: false, sensitive: true, neverExtractable: true, local: true });
    }
    const [old, ...none] = roots(bot.ca);
    t.equal(none.length, 0);
    const first = await chainOf(vault, bot);
    t.equal(first.length, 2);
    t.ok(leadsTo(first, old));

    t.match(await vault.call('POST', '/v1/agents/bot/retire-ca'), {
      status: 404,
      body: { message: /one CA and no earlier one/ },
    });
    const rotated = await vault.call('POST', '/v1/agents/bot/rotate-ca');
    t.equal(rotated.status, 200);
    const [fresh, still] = roots(rotated.body.ca);
    t.equal(still?.fingerprint256, old?.fingerprint256, 'both are to be trusted');
    t.not(fresh?.subject, old?.subject);
    t.same(await inHsm(), expect(1, 2));
    t.match(await vault.call('POST', '/v1/agents/bot/rotate-ca'), {
      status: 409,
      body: { code: 'already_exists', message: /retire-ca bot/ },
    });
    t.match(await vault.call('POST', '/v1/agents/nobody/rotate-ca'), { status: 404 });

    t.comment('also after the vault was started again and the KEK was rotated');
    await vault.kill();
    vault = await TestVault.start(installation, { authorityKeys: authorityKeysAre });
    for await (const _ of await vault.open('POST', '/v1/hsm/rotate'));
    t.same(
      wrappedBy(installation.database),
      authorityKeysAre === 'hsm' ? [null, null] : Array(2).fill('sallyport-kek-2'),
    );
    t.same(await inHsm(), expect(1, 2));
    const both = await chainOf(vault, bot);
    t.equal(both.length, 3);
    t.ok(leadsTo(both.slice(0, 2), old), 'a client with the old root stops there');
    t.ok(leadsTo(both, fresh), 'one with the new root goes on');
    const [, issuing, predecessor] = both;
    for (const authority of [issuing, predecessor]) {
      const days = ((authority?.validToDate.getTime() ?? 0) - Date.now()) / 86_400_000;
      t.ok(days < 7 && days > 6.9, 'nothing that is issued lives longer than a week');
    }

    const retired = await vault.call('POST', '/v1/agents/bot/retire-ca');
    t.same(roots(retired.body.ca).map(String), [String(fresh)]);
    t.same(await inHsm(), expect(2));
    const last = await chainOf(vault, bot);
    t.equal(last.length, 2);
    t.ok(leadsTo(last, fresh));
    t.notOk(leadsTo(last, old));

    t.equal((await vault.call('POST', '/v1/agents/bot/rotate-ca')).status, 200, 'and so on');
    t.same(await inHsm(), expect(2, 3));
    t.equal((await vault.call('DELETE', '/v1/agents/bot')).status, 200);
    t.same(await inHsm(), [], 'removed with the agent');
  });
}

t.test(
  'a key that no root in the store has is destroyed at the next start, the others are not',
  async (t) => {
    const installation = await install();
    let vault = await TestVault.start(installation, { authorityKeys: 'hsm' });
    t.teardown(async () => {
      await vault.stop();
      installation.remove();
    });
    const keyLabels = async (): Promise<string[]> => {
      const { body } = await vault.get('/v1/status');
      const labels: string[] = body.hsm.info.keys.map(({ label }: KeyInfo) => label);
      return labels.filter((label) => /^agt_|-proxy-/.test(label)).sort();
    };
    const kept = await vault.addAgent('kept');
    await vault.until('the listener has its root', async () =>
      (await keyLabels()).includes('sallyport-proxy-1'),
    );
    await vault.stop();
    const orphans = [`agt_${'0'.repeat(32)}-1`, 'sallyport-proxy-2'];
    const keyholder = await startKeyholder(installation.hsm);
    for (const label of orphans) await ask(keyholder, { verb: 'authority.make', label });
    const labels = async (): Promise<string[]> =>
      AuthoritiesReply.parse((await ask(keyholder, { verb: 'authority.list' })).header).labels.sort();
    const used = [`${kept.id}-1`, 'sallyport-proxy-1'];
    t.same(await labels(), [...orphans, ...used].sort());
    await keyholder.stop();
    vault = await TestVault.start(installation, { authorityKeys: 'hsm' });
    await vault.until('they are destroyed', async () => (await keyLabels()).length <= used.length);
    t.same(await keyLabels(), used);
  },
);

function wrappedBy(database: string): (string | null)[] {
  const db = new SQLite(database, { readonly: true });
  try {
    const row = db.prepare('SELECT root_key_kek AS a, old_root_key_kek AS b FROM agents').get();
    const { a, b } = Object(row);
    return [a, b];
  } finally {
    db.close();
  }
}
