import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import SQLite from 'better-sqlite3';
import t from 'tap';
import { ACME, install, sha256, TestVault } from '../support/vault.ts';

t.setTimeout(120_000);
const installation = await install();
const vault = await TestVault.start(installation);
const worker = await vault.worker();
t.teardown(async () => {
  await vault.stop();
  installation.remove();
});
await vault.call('POST', '/v1/services', { services: [ACME] });

const SITE = {
  id: 'site',
  hosts: [{ pattern: '{host}' }],
  auth: { inject: [{ in: 'basic', username: '{user}', password: '{password}' }] },
  fields: [
    { key: 'host', secret: false },
    { key: 'user', secret: false },
    { key: 'password' },
    { key: 'note', secret: false, optional: true },
  ],
};

t.test("the socket is its owner's alone", async (t) => {
  t.equal(statSync(join(installation.folder, 'vault', 'control.sock')).mode & 0o777, 0o600);
});

t.test('an agent is added with an authority of its own, rotated and removed', async (t) => {
  const { id, token, ca } = await vault.addAgent('bot');
  const certificate = new X509Certificate(ca);
  t.ok(certificate.ca && certificate.verify(certificate.publicKey), 'a self-signed CA');
  t.same((await vault.get('/v1/agents/bot/ca')).body, { pem: ca });
  t.match((await vault.get('/v1/agents')).body, [{ id, name: 'bot', created: /^2\d{3}-/ }]);
  t.match(worker.policy.agents, [{ id, name: 'bot', tokens: [sha256(token)], integrity: null }]);

  const next = sha256(Buffer.from('another token'));
  t.match(await vault.call('POST', '/v1/agents/bot/rotate', { tokenHash: next }), {
    status: 200,
    body: { id, name: 'bot' },
  });
  t.same(worker.policy.agents[0]?.tokens, [next], 'in force when the call returns');

  const other = (await vault.addAgent('other')).ca;
  t.notSame(other, ca);
  t.equal((await vault.call('DELETE', '/v1/agents/other')).status, 200);
  t.same(
    worker.policy.agents.map((agent) => agent.name),
    ['bot'],
  );
  t.match(await vault.get('/v1/agents/other/ca'), {
    status: 404,
    body: { code: 'not_found', message: /sallyport agent list/ },
  });
  t.ok((await vault.addAgent('other')).ca, 'the name may be used again');
});

t.test('what becomes of hosts that no grant names is said for each agent', async (t) => {
  const unlisted = (): Record<string, string> =>
    Object.fromEntries(worker.policy.agents.map((agent) => [agent.name, agent.unlisted]));
  t.match(unlisted(), { bot: 'deny', other: 'deny' }, 'denied unless said otherwise');
  const set = await vault.call('PATCH', '/v1/agents/bot', { unlisted: 'tunnel' });
  t.match(set, { status: 200, body: { name: 'bot' } });
  t.match(unlisted(), { bot: 'tunnel', other: 'deny' }, 'in force when the call returns');
  t.match((await vault.get('/v1/agents')).body, [
    { name: 'bot', unlisted: 'tunnel' },
    { name: 'other', unlisted: 'deny' },
  ]);
  t.equal((await vault.call('PATCH', '/v1/agents/bot', { unlisted: 'deny' })).status, 200);
  t.match(unlisted(), { bot: 'deny' });
  t.match(await vault.call('PATCH', '/v1/agents/bot', { unlisted: 'maybe' }), { status: 400 });
  t.match(await vault.call('PATCH', '/v1/agents/nobody', { unlisted: 'deny' }), { status: 404 });
  const tokenHash = sha256(Buffer.from('free'));
  t.equal(
    (await vault.call('POST', '/v1/agents', { name: 'free', tokenHash, unlisted: 'tunnel' })).status,
    200,
  );
  t.match(unlisted(), { free: 'tunnel' });
  t.equal((await vault.call('DELETE', '/v1/agents/free')).status, 200);
});

t.test('a name that is taken, or is none, is refused', async (t) => {
  const tokenHash = sha256(Buffer.from('x'));
  t.match(await vault.call('POST', '/v1/agents', { name: 'bot', tokenHash }), {
    status: 409,
    body: { code: 'already_exists', message: /rotate bot/ },
  });
  for (const name of ['', 'Bot', '-x', 'a b', 'é', 'x'.repeat(64), '../x', 'a\n']) {
    t.match(
      await vault.call('POST', '/v1/agents', { name, tokenHash }),
      { status: 400, body: { code: 'invalid_argument' } },
      JSON.stringify(name),
    );
  }
  t.match(await vault.call('POST', '/v1/agents', { name: 'x', tokenHash: 'short' }), {
    status: 400,
    body: { code: 'invalid_argument', message: /tokenHash/ },
  });
  t.match(await vault.call('POST', '/v1/agents', { name: 'x', tokenHash, more: 1 }), {
    status: 400,
    body: { code: 'invalid_argument' },
  });
  t.match(await vault.call('POST', '/v1/agents/nobody/rotate', { tokenHash }), {
    status: 404,
    body: { code: 'not_found' },
  });
  t.match(await vault.call('DELETE', '/v1/agents/nobody'), { status: 404, body: { code: 'not_found' } });
});

t.test('a credential is sealed by its sender, set, replaced and removed', async (t) => {
  const first = await vault.setCredential('acme', { token: 'one' }, { agents: ['bot'] });
  t.match(first, { status: 200, body: { service: 'acme', label: 'default', version: 1 } });
  const [rule] = worker.policy.rules;
  t.match(rule, {
    service: 'acme',
    version: 1,
    hosts: [{ pattern: 'api.acme.example', port: 443 }],
    integrity: null,
  });

  const second = await vault.setCredential('acme', { token: 'two' });
  t.match(second.body, { id: first.body.id, version: 2 });
  t.match(worker.policy.rules, [{ id: rule?.id, version: 2 }], 'the grant is kept');
  await vault.setCredential('acme', { token: 'three' });
  t.same(held(first.body.id), [0, 1, 1], 'all but the last two versions are shredded');
  t.match((await vault.get('/v1/credentials')).body, [
    {
      id: first.body.id,
      service: 'acme',
      label: 'default',
      version: 3,
      secretFields: ['token'],
      agents: ['bot'],
    },
  ]);

  t.equal((await vault.call('DELETE', `/v1/credentials/${first.body.id}`)).status, 200);
  t.same(worker.policy.rules, [], 'its grants are gone with it');
  t.same(held(first.body.id), [0, 0, 0]);
  t.match(await vault.call('DELETE', `/v1/credentials/${first.body.id}`), {
    status: 404,
    body: { code: 'not_found', message: /credential list/ },
  });
});

t.test('a shredded value is in no file of the store', async (t) => {
  const { body } = await vault.setCredential('acme', { token: 'to be shredded' }, { label: 'shred' });
  const sealed = query<{ sealed: Buffer }>(
    'SELECT sealed FROM credential_versions WHERE credential = ?',
    body.id,
  )[0]?.sealed;
  const found = (): boolean => files().some((bytes) => sealed && bytes.includes(sealed));
  t.ok(found());
  await vault.call('DELETE', `/v1/credentials/${body.id}`);
  t.notOk(found());
});

t.test('public fields are checked, kept by the next version and decide the hosts', async (t) => {
  t.match(await vault.call('POST', '/v1/services', { services: [SITE] }), {
    status: 200,
    body: { added: ['site'] },
  });
  const set = (publicFields: Record<string, string>) =>
    vault.setCredential('site', { password: 'x y' }, { publicFields, agents: ['bot'] });
  t.match(await set({ user: 'u' }), {
    status: 422,
    body: { code: 'invalid_credential', message: /needs the public field host/ },
  });
  t.match(await set({ host: 'h.example', user: 'u', extra: '1' }), {
    status: 422,
    body: { message: /no public field extra/ },
  });
  t.match(await set({ host: 'not a host', user: 'u' }), {
    status: 422,
    body: { code: 'invalid_credential' },
  });
  t.match(await set({ host: 'h.example', user: 'a:b' }), { status: 422, body: { message: /colon/ } });
  t.match(await set({ host: 'h.example', user: 'u\r\nx' }), {
    status: 422,
    body: { message: /control character/ },
  });
  t.match(await set({ host: 'h.example:8443', user: 'u' }), { status: 200 });
  t.match(await set({ user: 'v' }), { status: 200, body: { version: 2 } });
  t.match((await vault.get('/v1/credentials')).body, [
    { publicFields: { host: 'h.example:8443', user: 'v' } },
  ]);
  t.match(worker.policy.rules, [
    { hosts: [{ pattern: 'h.example', port: 8443 }], inject: [{ in: 'basic' }] },
  ]);
});

t.test('secret fields are checked where they are opened, and never quoted', async (t) => {
  const refused = async (secrets: Record<string, string | Buffer>, message: RegExp) => {
    const answer = await vault.setCredential('acme', secrets);
    t.match(answer, { status: 422, body: { code: 'invalid_credential', message } });
    t.notMatch(answer.body.message, /hunter2/);
  };
  await refused({}, /needs the secret field token/);
  await refused({ token: 'hunter2', other: 'hunter2' }, /no secret field other: it has token/);
  await refused({ token: '' }, /is empty/);
  for (const token of ['hunter2\n', 'hunter2\r\nX: y', 'hunter2\0', '\thunter2', 'hunter2\x7f'])
    await refused({ token }, /control byte/);
  await refused({ token: ' hunter2' }, /space/);
  await refused({ token: Buffer.alloc(16_385, 0x61) }, /longer than 16384 bytes/);
  t.match(
    await vault.setCredential('acme', { token: Buffer.from('a b\xff', 'latin1') }, { label: 'odd' }),
    { status: 200 },
    'inner spaces and obs-text pass',
  );
});

t.test('a box that was sealed for elsewhere, or altered, is refused', async (t) => {
  const sealed = {
    enc: Buffer.alloc(65, 4).toString('base64'),
    ciphertext: Buffer.alloc(40).toString('base64'),
  };
  const put = (body: object) =>
    vault.call('PUT', '/v1/credentials', {
      service: 'acme',
      label: 'x',
      publicFields: {},
      agents: [],
      sealed,
      ...body,
    });
  t.match(await put({}), { status: 422, body: { code: 'sealed_box_invalid' } }, 'no point of the curve');
  t.match(await put({ sealed: { enc: '', ciphertext: '' } }), {
    status: 400,
    body: { code: 'invalid_argument' },
  });
  const box = { sealed: await vault.seal('acme', 'x', { token: 'for acme' }) };
  t.match(
    await put({ ...box, label: 'y' }),
    { status: 422, body: { code: 'sealed_box_invalid' } },
    'another label',
  );
  t.match(
    await put({ ...box, service: 'site' }),
    { status: 422, body: { code: 'sealed_box_invalid' } },
    'another service',
  );
  t.match(await put(box), { status: 200 });
});

t.test('who is named must be there', async (t) => {
  t.match(await vault.setCredential('nothing', { x: 'y' }), {
    status: 404,
    body: { code: 'not_found', message: /service list/ },
  });
  t.match(await vault.setCredential('acme', { token: 'x' }, { agents: ['nobody'], label: 'new' }), {
    status: 404,
    body: { message: /agent list/ },
  });
  t.notOk(
    (await vault.get('/v1/credentials')).body.some((each: { label: string }) => each.label === 'new'),
    'and nothing was done by half',
  );
});

t.test('grants: one of several labels must be named, one that is there is no error', async (t) => {
  const put = (body: object) =>
    vault.call('PUT', '/v1/grants', { agent: 'other', service: 'acme', methods: [], paths: [], ...body });
  t.match(await put({}), { status: 409, body: { code: 'ambiguous_label', message: /odd, x.*--label/ } });
  t.match(await put({ label: 'none' }), {
    status: 404,
    body: { code: 'not_found', message: /credential set acme/ },
  });
  t.match(await put({ service: 'openai' }), { status: 404, body: { message: /openai has no credential/ } });
  const made = await put({ label: 'x', methods: ['GET'], paths: ['/v1/'] });
  t.match(made, {
    status: 200,
    body: { created: true, agent: 'other', label: 'x', methods: ['GET'], paths: ['/v1/'] },
  });
  const revision = worker.policy.revision;
  t.match(
    await put({ label: 'x' }),
    { status: 200, body: { id: made.body.id, created: false, methods: ['GET'] } },
    'an empty list widens nothing',
  );
  t.equal(worker.policy.revision, revision, 'and nothing was changed');
  t.match(await put({ label: 'x', methods: ['GET', 'POST'] }), {
    status: 200,
    body: { id: made.body.id, created: false, methods: ['GET', 'POST'], paths: ['/v1/'] },
  });
  t.match(
    (await vault.get('/v1/grants')).body.filter((each: { agent: string }) => each.agent === 'other'),
    [{ id: made.body.id, service: 'acme', label: 'x' }],
  );
  for (const bad of [{ methods: ['get'] }, { paths: ['v1'] }, { paths: ['/a/../b'] }, { paths: ['/a b'] }]) {
    t.match(
      await put({ label: 'x', ...bad }),
      { status: 400, body: { code: 'invalid_argument' } },
      JSON.stringify(bad),
    );
  }
  t.equal((await vault.call('DELETE', '/v1/grants?agent=other&service=acme&label=x')).status, 200);
  t.notOk(worker.policy.rules.some((rule) => rule.id === made.body.id));
  t.match(await vault.call('DELETE', '/v1/grants?agent=other&service=acme'), {
    status: 404,
    body: { message: /grant list/ },
  });
});

t.test('a service that is redefined takes its credentials along', async (t) => {
  const { id, token } = await vault.addAgent('mover');
  await vault.setCredential('acme', { token: 'moves along' }, { label: 'moving', agents: ['mover'] });
  const moved = { ...ACME, hosts: [{ pattern: 'api2.acme.example' }] };
  t.match(await vault.call('POST', '/v1/services', { services: [moved] }), {
    status: 200,
    body: { updated: ['acme'] },
  });
  const rule = worker.policy.rules.find((each) => each.agent === id);
  t.match(rule, { hosts: [{ pattern: 'api2.acme.example' }], version: 1 });
  const asked = {
    agent: id,
    rule: rule?.id ?? '',
    credential: rule?.credential ?? '',
    version: 1,
    host: 'api2.acme.example',
    port: 443,
  };
  const answer = await worker.ask({ type: 'secret', ...asked }, [token]);
  t.equal(answer.parts[0]?.toString(), 'moves along');
  t.equal(
    (await worker.ask({ type: 'secret', ...asked, host: 'api.acme.example' }, [token])).code,
    'policy_denied',
  );

  const wanting = { ...moved, fields: [{ key: 'token' }, { key: 'extra' }] };
  const services = [{ ...SITE, id: 'site2' }, wanting];
  t.match(await vault.call('POST', '/v1/services', { services }), {
    status: 422,
    body: { code: 'invalid_service', message: /extra/ },
  });
  t.match(await vault.get('/v1/services/site2'), { status: 404 }, 'all or nothing');
  t.match(await vault.call('POST', '/v1/services', { services: [{ id: 'x' }] }), {
    status: 422,
    body: { code: 'invalid_service' },
  });
  t.match(await vault.call('POST', '/v1/services', { services: [ACME] }), { status: 200 });
});

t.test('the catalog is there without being added', async (t) => {
  const { body } = await vault.get('/v1/services');
  t.match(
    body.find((each: { id: string }) => each.id === 'openai'),
    { name: 'OpenAI', hosts: ['api.openai.com'], scheme: 'header', credentials: 0 },
  );
  t.match((await vault.get('/v1/services/openai')).body, {
    id: 'openai',
    fields: [{ key: 'api_key', secret: true }],
  });
  t.match(await vault.setCredential('openai', { api_key: 'sk-x' }), { status: 200 });
  t.match(
    (await vault.get('/v1/services')).body.find((each: { id: string }) => each.id === 'openai'),
    { credentials: 1 },
  );
});

t.test('a token for a run lives as long as its connection', async (t) => {
  const token = Buffer.from("a run's token");
  const tokens = () => worker.policy.agents.find((agent) => agent.name === 'bot')?.tokens ?? [];
  const before = tokens().length;
  const response = await vault.open('POST', '/v1/agents/bot/sessions', { tokenHash: sha256(token) });
  const [line] = await response.take(1).toArray();
  t.equal(String(line), '{"ready":true}\n');
  t.ok(tokens().includes(sha256(token)), 'in force by then');
  response.destroy();
  await vault.until('the token is gone', () => tokens().length === before);
  t.match(await vault.call('POST', '/v1/agents/nobody/sessions', { tokenHash: sha256(token) }), {
    status: 404,
  });
});

t.test('what is no request is answered with a code and no inside', async (t) => {
  t.match(await vault.get('/v1/nothing'), { status: 404, body: { code: 'not_found' } });
  t.match(await vault.call('POST', '/v1/agents', 'text'), {
    status: 400,
    body: { code: 'invalid_argument' },
  });
  t.match(await vault.call('PUT', '/v1/grants', null), { status: 400, body: { code: 'invalid_argument' } });
  t.match(await vault.call('POST', '/v1/services', { services: [], more: 'x'.repeat(9 * 1024 * 1024) }), {
    status: 400,
  });
});

t.test('every change is in the journal, and no secret', async (t) => {
  const actions = vault
    .journal()
    .filter((record) => record.type === 'admin')
    .map((record) => record.action);
  for (const action of [
    'agent.add',
    'agent.rotate',
    'agent.remove',
    'credential.set',
    'credential.remove',
    'grant.add',
    'grant.remove',
    'service.add',
    'session.open',
    'session.close',
  ]) {
    t.ok(actions.includes(action), action);
  }
  t.notMatch(JSON.stringify(vault.journal()), /moves along|hunter2|to be shredded/);
  t.equal(vault.stderr, '');
});

function query<R>(text: string, ...values: string[]): R[] {
  const db = new SQLite(installation.database, { readonly: true });
  try {
    return db.prepare<string[], R>(text).all(...values);
  } finally {
    db.close();
  }
}

/** For each version of a credential, oldest first, 1 where it still holds something sealed. */
function held(credential: string): number[] {
  const text =
    'SELECT sealed IS NOT NULL AND dek IS NOT NULL AS held FROM credential_versions WHERE credential = ? ORDER BY version';
  return query<{ held: number }>(text, credential).map((row) => row.held);
}

function files(): Buffer[] {
  return ['', '-wal'].map((suffix) => readFileSync(`${installation.database}${suffix}`));
}
