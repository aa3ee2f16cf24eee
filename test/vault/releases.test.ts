import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import t from 'tap';
import { ACME, install, TestVault } from '../support/vault.ts';

t.setTimeout(120_000);
const installation = await install();
const vault = await TestVault.start(installation);
const worker = await vault.worker('worker-1-1');
t.teardown(async () => {
  await vault.stop();
  installation.remove();
});
const REFRESH = {
  ...ACME,
  id: 'refresh',
  hosts: [{ pattern: '*.refresh.example' }],
  fields: [{ key: 'token' }, { key: 'refresh_token' }],
};
const QUERY = {
  ...ACME,
  id: 'query',
  hosts: [{ pattern: 'api.query.example' }],
  auth: { inject: [{ in: 'query', name: 'key', value: '{token}' }] },
};
await vault.call('POST', '/v1/services', { services: [ACME, REFRESH, QUERY] });
const bot = await vault.addAgent('bot');
const mallory = await vault.addAgent('mallory');
await vault.setCredential('acme', { token: 'the secret' }, { agents: ['bot'] });
await vault.setCredential(
  'refresh',
  { token: 'short-lived', refresh_token: 'stays here' },
  { agents: ['mallory'] },
);
await vault.setCredential('query', { token: 'in a query' }, { agents: ['mallory'] });

const ruleOf = (agent: string, service: string) => {
  const rule = worker.policy.rules.find((each) => each.agent === agent && each.service === service);
  if (!rule) throw new Error(`${agent} has no rule for ${service}`);
  return { rule: rule.id, credential: rule.credential, version: rule.version };
};
const own = { agent: bot.id, ...ruleOf(bot.id, 'acme'), host: 'api.acme.example', port: 443 };
const refusals = () => vault.journal().filter((record) => record.type === 'refusal');

t.test(
  "a secret is released to whoever shows the agent's token, and the release is recorded first",
  async (t) => {
    const { header, parts, code } = await worker.ask({ type: 'secret', ...own }, [bot.token]);
    t.equal(code, undefined);
    t.same(header, { fields: [{ name: 'token', secret: true }] });
    t.same(parts.map(String), ['the secret']);
    const { detail, subject } = vault.journal().findLast((record) => record.type === 'release');
    t.equal(subject, bot.id);
    t.match(detail, {
      worker: 'worker-1-1',
      host: 'api.acme.example',
      port: 443,
      rule: own.rule,
      version: 1,
    });
  },
);

t.test('only the fields that are injected leave the vault', async (t) => {
  const asked = {
    agent: mallory.id,
    ...ruleOf(mallory.id, 'refresh'),
    host: 'eu.refresh.example',
    port: 443,
  };
  const { header, parts } = await worker.ask({ type: 'secret', ...asked }, [mallory.token]);
  t.same(header.fields, [{ name: 'token', secret: true }]);
  t.same(parts.map(String), ['short-lived']);
  t.equal(
    (await worker.ask({ type: 'secret', ...asked, host: 'a.b.refresh.example' }, [mallory.token])).code,
    'policy_denied',
    'one label is one',
  );
});

t.test('what this version cannot inject is not released', async (t) => {
  const asked = { agent: mallory.id, ...ruleOf(mallory.id, 'query'), host: 'api.query.example', port: 443 };
  t.equal((await worker.ask({ type: 'secret', ...asked }, [mallory.token])).code, 'injection_unsupported');
});

t.test('everything else is refused and recorded', async (t) => {
  const cases: [string, Partial<typeof own>, Buffer[], string][] = [
    ["another agent's token", {}, [mallory.token], 'policy_denied'],
    ['no token', {}, [], 'policy_denied'],
    ['an empty token', {}, [Buffer.alloc(0)], 'policy_denied'],
    ['a token that is too long', {}, [Buffer.concat([bot.token, Buffer.alloc(1_000)])], 'policy_denied'],
    ['a token with a byte more', {}, [Buffer.concat([bot.token, Buffer.alloc(1)])], 'policy_denied'],
    ["the token's hash", {}, [Buffer.from(worker.policy.agents[0]?.tokens[0] ?? '', 'hex')], 'policy_denied'],
    ['an unknown agent', { agent: 'agt_none' }, [bot.token], 'policy_denied'],
    ["another agent's grant", ruleOf(mallory.id, 'refresh'), [bot.token], 'policy_denied'],
    ['another agent with its own token', { agent: mallory.id }, [mallory.token], 'policy_denied'],
    ['another host', { host: 'evil.example' }, [bot.token], 'policy_denied'],
    ['a host below', { host: 'x.api.acme.example' }, [bot.token], 'policy_denied'],
    ['another port', { port: 8443 }, [bot.token], 'policy_denied'],
    ['a grant that is none', { rule: 'grt_none' }, [bot.token], 'policy_denied'],
    [
      'another credential',
      { credential: ruleOf(mallory.id, 'refresh').credential },
      [bot.token],
      'credential_missing',
    ],
    ['a version to come', { version: 2 }, [bot.token], 'credential_missing'],
  ];
  for (const [what, changed, parts, code] of cases) {
    const before = refusals().length;
    const answer = await worker.ask({ type: 'secret', ...own, ...changed }, parts);
    t.equal(answer.code, code, what);
    t.same(answer.parts, [], 'and nothing with it');
    t.notMatch(JSON.stringify(answer.header), /the secret|spa_/);
    const recorded = refusals();
    t.equal(recorded.length, before + 1, 'recorded before it was answered');
    t.match(recorded.at(-1), { action: 'secret', detail: { worker: 'worker-1-1', code } });
  }
});

t.test("a leaf is made for the agent's hosts and the worker's key alone", async (t) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const leaf = (changed: object, parts = [bot.token, spki]) =>
    worker.ask({ type: 'leaf', agent: bot.id, host: 'api.acme.example', port: 443, ...changed }, parts);
  const { code, header, parts } = await leaf({});
  t.equal(code, undefined);
  const certificate = new X509Certificate(parts[0] ?? '');
  t.ok(certificate.publicKey.equals(publicKey));
  t.equal(certificate.subjectAltName, 'DNS:api.acme.example');
  t.ok(header.notAfter > Date.now() && header.notAfter <= Date.now() + 24 * 3_600_000);
  const issuing = new X509Certificate(
    `-----BEGIN CERTIFICATE-----${String(parts[0]).split('-----BEGIN CERTIFICATE-----')[2]}`,
  );
  t.ok(issuing.verify(new X509Certificate(bot.ca).publicKey), "under the agent's own root");
  t.match(
    vault.journal().findLast((record) => record.type === 'release'),
    { action: 'leaf', subject: bot.id, detail: { host: 'api.acme.example' } },
  );

  t.same((await leaf({})).parts[1], parts[1], 'tickets: one key for one agent and host');
  t.equal(parts[1]?.length, 48);
  for (const [what, answer] of [
    ['another host', await leaf({ host: 'evil.example' })],
    ["another agent's host", await leaf({ host: 'eu.refresh.example' })],
    ['another port', await leaf({ port: 8443 })],
    ['another agent', await leaf({ agent: mallory.id })],
    ["another agent's token", await leaf({}, [mallory.token, spki])],
    ['an upper-case host', await leaf({ host: 'API.acme.example' })],
  ] as const) {
    t.equal(answer.code, 'policy_denied', what);
    t.match(refusals().at(-1), { action: 'leaf', detail: { worker: 'worker-1-1', code: 'policy_denied' } });
  }
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({
    type: 'spki',
    format: 'der',
  });
  for (const key of [rsa, Buffer.alloc(0), Buffer.alloc(91)])
    t.equal((await leaf({}, [bot.token, key])).code, 'bad_request');
  const other = await worker.ask({ type: 'leaf', agent: mallory.id, host: 'eu.refresh.example', port: 443 }, [
    mallory.token,
    spki,
  ]);
  t.notSame(other.parts[1], parts[1], 'tickets: another key for another agent');
});

t.test('a change of grants is followed by the next leaf', async (t) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const leaf = (host: string) =>
    worker.ask({ type: 'leaf', agent: bot.id, host, port: 443 }, [
      bot.token,
      publicKey.export({ type: 'spki', format: 'der' }),
    ]);
  t.equal((await leaf('us.refresh.example')).code, 'policy_denied');
  await vault.call('PUT', '/v1/grants', { agent: 'bot', service: 'refresh' });
  t.equal((await leaf('us.refresh.example')).code, undefined);
  await vault.call('DELETE', '/v1/grants?agent=bot&service=refresh');
  t.equal((await leaf('us.refresh.example')).code, 'policy_denied');
  t.equal((await leaf('api.acme.example')).code, undefined);
});

t.test('a removed right is refused by the vault too, at once', async (t) => {
  await vault.setCredential('acme', { token: 'the next secret' });
  t.equal(
    (await worker.ask({ type: 'secret', ...own }, [bot.token])).code,
    'credential_missing',
    'the old version',
  );
  t.equal(
    String((await worker.ask({ type: 'secret', ...own, version: 2 }, [bot.token])).parts[0]),
    'the next secret',
  );
  await vault.call('DELETE', '/v1/agents/bot');
  t.equal((await worker.ask({ type: 'secret', ...own, version: 2 }, [bot.token])).code, 'policy_denied');
});

t.test("a worker's journal head is written down; one that cannot be its own raises an alarm", async (t) => {
  const heads = () => vault.journal().filter((record) => record.type === 'head');
  const file = 'worker-1-1.ndjson';
  worker.event({ type: 'head', file, link: 1, hash: '11'.repeat(32) });
  worker.event({ type: 'head', file, link: 2, hash: '22'.repeat(32) });
  await vault.until('it is written', () => heads().length > 0);
  t.match(heads().at(-1), { file, link: 2, hash: '22'.repeat(32) });
  const alarms = () => vault.journal().filter((record) => record.type === 'alarm');
  worker.event({ type: 'head', file, link: 1, hash: '11'.repeat(32) });
  await vault.until('the alarm is written', () => alarms().length > 0);
  t.match(alarms(), [{ action: 'journal.head', subject: 'worker-1-1', detail: { file, link: 1, known: 2 } }]);
  await vault.until('it is told', () =>
    /worker-1-1 reported a head that its journal cannot have/.test(vault.stderr),
  );
});

t.test('a worker that speaks nonsense is answered, not obeyed', async (t) => {
  const nonsense: unknown = { type: 'root' };
  const answer = await worker.ask(nonsense as Parameters<typeof worker.ask>[0], [bot.token]);
  t.equal(answer.code, 'channel_malformed');
  t.match((await vault.get('/v1/status')).status, 200, 'the vault lives on');
});
