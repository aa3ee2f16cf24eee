import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { sendJson, startTokenEndpoint } from '../../support/token-endpoint.ts';
import { TOKEN_SERVICES } from '../../support/token-services.ts';
import { install, TestVault } from '../../support/vault.ts';
import type { WorkerPeer } from '../../support/worker-peer.ts';

t.setTimeout(120_000);
const installation = await install();
const endpoint = await startTokenEndpoint();
const { upstream } = endpoint;
const hung = net.createServer(() => {}).listen(0, '127.0.0.1');
await once(hung, 'listening');
const address = hung.address();
const hungPort = typeof address === 'object' && address ? address.port : 0;
/** Hosts with a certificate of another name, an address that is forbidden, and a server that never speaks. */
const elsewhere = { port: 443, address: '127.0.0.1', toPort: upstream.port };
const vault = await TestVault.start(installation, {
  worker: {
    ...endpoint.settings,
    upstreamResolve: [
      ...(endpoint.settings.upstreamResolve ?? []),
      { host: 'other-name.test', ...elsewhere },
      { host: 'metadata.test', ...elsewhere, address: '169.254.169.254' },
      { host: 'private.test', ...elsewhere, address: '10.0.0.1' },
      { host: 'hung.test', ...elsewhere, toPort: hungPort },
    ],
    ownListeners: [],
  },
});
const worker = await vault.worker();
t.teardown(async () => {
  hung.close();
  await vault.stop();
  await endpoint.close();
  installation.remove();
});
const [robot] = TOKEN_SERVICES;
if (!robot) throw new Error('there is no service');
const at = (id: string, token_url: string) => ({
  ...robot,
  id,
  auth: { ...robot.auth, oauth2: { token_url, grant: 'client_credentials', client_auth: 'basic' } },
});
const services = [
  ...TOKEN_SERVICES,
  at('wrong-name', 'https://other-name.test/token'),
  at('metadata', 'https://metadata.test/token'),
  at('private', 'https://private.test/token'),
  at('hung', 'https://hung.test/token'),
];
await vault.call('POST', '/v1/services', { services });
const bot = await vault.addAgent('bot');

const SECRET = 'client-secret-0123456789';
/** A new version each time: what failed before is not asked again at once. */
const ask = async (service: string, of: WorkerPeer = worker) => {
  await vault.setCredential(service, { client_secret: SECRET }, PUBLIC);
  return askAgain(service, of);
};
const PUBLIC = { agents: ['bot'], publicFields: { client_id: 'id', tenant: 't' } };
const askAgain = async (service: string, of: WorkerPeer = worker, more: { refused?: boolean } = {}) => {
  const rule = of.policy.rules.find((each) => each.service === service);
  if (!rule) throw new Error(`no rule for ${service}`);
  const { agent, id, credential, version, hosts } = rule;
  const host = hosts[0]?.pattern ?? '';
  const asked = { agent, rule: id, credential, version, host, port: 443, ...more };
  return of.ask({ type: 'secret', ...asked }, [bot.token]);
};
const token = { access_token: 'token-1', token_type: 'Bearer', expires_in: 3600 };

t.test('what a server says no to is told to the agent, with what the owner must do', async (t) => {
  const cases: [unknown, number, RegExp][] = [
    [{ error: 'invalid_grant', error_description: `no ${SECRET}` }, 400, /invalid_grant.*authorize it anew/],
    [{ error: SECRET }, 400, /status 400/],
    [{ error: 'unauthorized' }, 200, /unauthorized/],
  ];
  for (const [body, status, message] of cases) {
    endpoint.answer(body, status);
    const answer = await ask('robot');
    t.equal(answer.code, 'exchange_refused', JSON.stringify(body));
    t.match(answer.header.message, message);
    t.notMatch(answer.header.message, SECRET);
  }
  t.match(
    vault.journal().findLast(({ action }) => action === 'exchange'),
    { type: 'refusal', detail: { service: 'robot', kind: 'grant', code: 'exchange_refused' } },
  );
  const before = upstream.received.length;
  t.equal((await askAgain('robot')).code, 'exchange_refused');
  t.equal(upstream.received.length, before, 'and it is not asked again at once');
  endpoint.answer(token);
  t.same((await ask('robot')).parts.map(String), ['token-1', 't'], 'a credential that is set anew is');
});

t.test('an answer that is huge, odd or no answer at all is refused', async (t) => {
  const odd: [string, string | Buffer, number][] = [
    ['no JSON', '<html>', 200],
    ['100 KiB', Buffer.alloc(100 * 1024, 0x20), 200],
    ['a redirection', '', 302],
  ];
  for (const [what, body, status] of odd) {
    upstream.respond = (_request, response) => {
      response.writeHead(status, { location: 'https://token.test/elsewhere' });
      response.end(body);
    };
    const before = upstream.received.length;
    const answer = await ask('robot');
    t.equal(answer.code, 'exchange_failed', what);
    t.equal(upstream.received.length, before + 1, 'asked once, followed nowhere');
  }
  upstream.respond = (_request, response) => {
    response.writeHead(200, { 'content-length': '100' });
    response.write('{"access_token":');
    response.destroy();
  };
  t.equal((await ask('robot')).code, 'exchange_failed', 'an answer that breaks off');
  await vault.until('no process is left', () => vault.exchangers.size === 0);
});

t.test('the rules for servers hold for token endpoints', async (t) => {
  const before = upstream.received.length;
  endpoint.answer(token);
  for (const [service, why] of [
    ['wrong-name', /certificate of other-name\.test:443 was not accepted/],
    ['metadata', /169\.254\.169\.254 is a cloud metadata service/],
    ['private', /10\.0\.0\.1 is private/],
  ] as const) {
    const answer = await ask(service);
    t.equal(answer.code, 'exchange_failed', service);
    t.match(answer.header.message, why);
  }
  t.equal(upstream.received.length, before, 'nothing was sent');
  const plain = { ...at('plain', 'http://token.test/token'), hosts: [{ pattern: 'plain.test' }] };
  await vault.call('POST', '/v1/services', { services: [plain] });
  const set = await vault.setCredential('plain', { client_secret: SECRET }, PUBLIC);
  t.match(set, { status: 422, body: { code: 'invalid_credential' } }, 'nor is anything sent without TLS');
});

t.test('one that never answers is given up, and holds nobody else up', async (t) => {
  const began = Date.now();
  const slow = ask('hung');
  endpoint.answer(token);
  t.equal((await ask('robot')).code, undefined);
  t.ok(vault.exchangers.size >= 1, 'it still waits');
  const answer = await slow;
  t.equal(answer.code, 'exchange_failed');
  t.ok(Date.now() - began < 14_000, `${Date.now() - began} ms`);
  await vault.until('its process ends', () => vault.exchangers.size === 0);
});

t.test('a token that a server refused still serves while no other can be had', async (t) => {
  endpoint.answer({ ...token, expires_in: 8 });
  t.same((await ask('robot')).parts.map(String), ['token-1', 't']);
  await delay(2_050);
  endpoint.answer({}, 500);
  const before = upstream.received.length;
  t.same((await askAgain('robot', worker, { refused: true })).parts.map(String), ['token-1', 't']);
  t.equal(upstream.received.length, before + 1, 'another was asked for');
  endpoint.answer({ error: 'invalid_grant' }, 400);
  await delay(2_050);
  t.equal(
    (await askAgain('robot', worker, { refused: true })).code,
    'exchange_refused',
    'unless that is refused',
  );
});

t.test('all who ask at once wait for one exchange', async (t) => {
  upstream.respond = (_request, response) => setTimeout(() => sendJson(response, token), 200);
  const other = await vault.worker();
  const before = upstream.received.length;
  await vault.setCredential('robot', { client_secret: SECRET }, PUBLIC);
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, index) => askAgain('robot', index % 2 ? worker : other)),
  );
  t.ok(answers.every(({ parts }) => String(parts[0]) === 'token-1'));
  t.equal(upstream.received.length, before + 1);
});

t.test('a right that is taken away while the token is made is a right no more', async (t) => {
  let answer: (() => void) | undefined;
  upstream.respond = (_request, response) => {
    answer = () => sendJson(response, { ...token, access_token: 'token-2' });
  };
  const asked = ask('robot');
  await vault.until('it is asked', () => answer !== undefined);
  await vault.call('DELETE', '/v1/grants?agent=bot&service=robot');
  answer?.();
  const { code, parts } = await asked;
  t.equal(code, 'policy_denied');
  t.same(parts, []);
});

t.test('nor is a refresh token kept of a credential that was removed meanwhile', async (t) => {
  let answer: (() => void) | undefined;
  upstream.respond = (_request, response) => {
    answer = () => sendJson(response, { ...token, refresh_token: 'rt-2' });
  };
  const secrets = { client_secret: SECRET, refresh_token: 'rt-1' };
  await vault.setCredential('consent', secrets, { agents: ['bot'], publicFields: { client_id: 'id' } });
  const credential = worker.policy.rules.find(({ service }) => service === 'consent')?.credential;
  const asked = askAgain('consent');
  await vault.until('it is asked', () => answer !== undefined);
  await vault.call('DELETE', `/v1/credentials/${credential}`);
  answer?.();
  t.match(await asked, { code: 'credential_missing', parts: [] });
  t.match((await vault.get('/v1/versions?service=consent')).status, 404);
});

t.test(
  'a new refresh token that cannot be stored at once is not lost, and the old one not shown again',
  async (t) => {
    let answer: (() => void) | undefined;
    upstream.respond = (_request, response) => {
      answer = () => sendJson(response, { ...token, refresh_token: 'rt-2' });
    };
    const secrets = { client_secret: SECRET, refresh_token: 'rt-1' };
    await vault.setCredential('consent', secrets, { agents: ['bot'], publicFields: { client_id: 'id' } });
    const asked = askAgain('consent');
    await vault.until('it is asked', () => answer !== undefined);
    const { keyholder } = vault;
    keyholder?.kill('SIGKILL');
    await vault.until('the HSM is gone', async () => (await vault.get('/v1/status')).body.hsm.state !== 'ok');
    answer?.();
    t.equal((await asked).code, 'hsm_unavailable');
    endpoint.answer({ ...token, refresh_token: 'rt-2' });
    await vault.startKeyholder();
    await vault.until('the HSM is back', async () => (await vault.get('/v1/status')).body.hsm.state === 'ok');
    const before = upstream.received.length;
    t.same((await askAgain('consent')).parts.map(String), ['token-1']);
    t.equal(upstream.received.length, before + 1);
    t.match(endpoint.form(), { refresh_token: 'rt-2' });
  },
);
