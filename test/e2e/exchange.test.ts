import { generateKeyPairSync, randomBytes, verify } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import t from 'tap';
import { z } from 'zod';
import { AgentTunnel } from '../support/agent.ts';
import { curl } from '../support/curl.ts';
import { countInMemory } from '../support/process-memory.ts';
import { isAlive, until } from '../support/processes.ts';
import { startScene } from '../support/scene.ts';
import { TOKEN_HOSTS, TOKEN_SERVICES } from '../support/token-services.ts';
import { type Received, valuesOf } from '../support/upstream.ts';

t.setTimeout(120_000);
const scene = await startScene({
  flags: ['--workers', '1'],
  services: TOKEN_SERVICES,
  hosts: TOKEN_HOSTS,
});
t.teardown(scene.remove);
const { sallyport, upstream } = scene;
const bot = await scene.addAgent('bot');
const agents = ['bot'];

/** What the token endpoint answers; the services say what they were shown. */
let answer: (request: Received, response: ServerResponse) => void = () => {};
const asked: Received[] = [];
let revoked = '';
upstream.respond = (request, response) => {
  const host = valuesOf(request, 'host')[0];
  if (host === 'token.test' || request.path.startsWith('/app/installations/')) {
    asked.push(request);
    return answer(request, response);
  }
  if (valuesOf(request, 'authorization')[0] === revoked) response.statusCode = 401;
  response.end(`${valuesOf(request, 'authorization')}\n`);
};
const json = (response: ServerResponse, body: unknown, status = 200): void => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
};
const marker = (): string => `marker-${randomBytes(24).toString('hex')}`;
const newToken = (): string => `tok-${randomBytes(12).toString('hex')}`;
const get = (host: string, path = '/v1/things') => curl(sallyport.proxy, bot, [`https://${host}${path}`]);
const shown = () => valuesOf(upstream.last, 'authorization');

t.beforeEach(() => {
  asked.length = 0;
  upstream.forget();
});

t.test('client credentials become an access token, and only that is sent', async (t) => {
  const secret = `client-${randomBytes(12).toString('hex')}`;
  const token = newToken();
  answer = (_request, response) =>
    json(response, { access_token: token, token_type: 'Bearer', expires_in: 3600 });
  await scene.setCredential('robot', secret, { agents, fields: ['client_id=a:b', 'tenant=t1', 'scope=r,w'] });
  t.match(await get('robot.test'), { code: 0, stdout: `Bearer ${'*'.repeat(token.length)}\n` });
  t.same(shown(), [`Bearer ${token}`], 'the answer was searched for it');
  t.same(valuesOf(upstream.last, 'x-tenant'), ['t1']);
  t.equal(asked.length, 1);
  const [request] = asked;
  t.match(request, { method: 'POST', path: '/token' });
  const basic = Buffer.from(`a%3Ab:${secret}`).toString('base64');
  t.same(request && valuesOf(request, 'authorization'), [`Basic ${basic}`]);
  t.same(Object.fromEntries(new URLSearchParams(String(request?.body))), {
    grant_type: 'client_credentials',
    scope: 'r w',
    account: 't1',
  });
  const many = await Promise.all(Array.from({ length: 8 }, () => get('robot.test')));
  t.ok(many.every(({ code }) => code === 0));
  t.equal(asked.length, 1, 'one token for all of them');
});

t.test('an agent is told why there is no token, and what helps; nothing of it is sent', async (t) => {
  answer = (_request, response) => json(response, { error: 'invalid_grant' }, 400);
  await scene.setCredential('hub', marker(), { agents, fields: ['username=me'] });
  const refused = JSON.parse((await get('hub.test')).stdout);
  t.match(refused, { status: 502, code: 'exchange_refused', retryable: false, detail: /hub gives no token/ });
  answer = (_request, response) => response.end('<html>');
  await scene.setCredential('hub', marker());
  const failed = JSON.parse((await get('hub.test')).stdout);
  t.match(failed, {
    status: 503,
    code: 'exchange_failed',
    retryable: true,
    detail: /its answer is not JSON/,
  });
  t.ok(
    upstream.received.every((request) => !valuesOf(request, 'host').includes('hub.test')),
    'no request without a token',
  );
});

t.test('a token for each request is made of it, and none is kept', async (t) => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = privateKey.export({ type: 'sec1', format: 'pem' });
  await scene.setCredential('signed', pem, { agents, fields: ['key_name=k'] });
  const tokens: string[] = [];
  for (const path of ['/v2/a', '/v2/a', '/v2/b?x=1']) {
    t.match(await get('signed.test', path), { code: 0, stdout: /^Bearer / });
    const [authorization = ''] = shown();
    tokens.push(authorization);
    const claims = JSON.parse(Buffer.from(authorization.split('.')[1] ?? '', 'base64url').toString());
    t.equal(claims.uri, `GET signed.test${path.replace(/\?.*/, '')}`);
  }
  t.equal(new Set(tokens).size, 3);
  t.equal(asked.length, 0);
});

t.test("a token that the server takes back is made anew, but not at the agent's will", async (t) => {
  const tokens = [newToken(), newToken()];
  answer = (_request, response) => json(response, { token: tokens[asked.length - 1], expires_in: 8 });
  await scene.setCredential('hub', marker());
  revoked = `Bearer ${tokens[0]}`;
  t.match(await get('hub.test'), { code: 0, stdout: /^Bearer / });
  t.match(await get('hub.test'), { code: 0, stdout: /^Bearer / });
  t.equal(asked.length, 1, 'it has just been made');
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  t.match(await get('hub.test'), { code: 0, stdout: /^Bearer / });
  t.match(await get('hub.test'), { code: 0, stdout: /^Bearer / });
  t.same(shown(), [`Bearer ${tokens[1]}`]);
  t.equal(asked.length, 2);
});

t.test('of the requests that wait for a token one asks the vault', async (t) => {
  const tunnels = await Promise.all(
    Array.from({ length: 8 }, () => AgentTunnel.open(sallyport.proxy, bot, 'hub.test')),
  );
  t.teardown(() => {
    for (const tunnel of tunnels) tunnel.close();
  });
  answer = (_request, response) =>
    setTimeout(() => json(response, { token: newToken(), expires_in: 60 }), 300);
  await scene.setCredential('hub', marker());
  const journal = join(sallyport.data, 'journal');
  const releases = (): number =>
    readdirSync(journal)
      .filter((file) => file.includes('-vault-'))
      .flatMap((file) => readFileSync(join(journal, file), 'utf8').split('\n'))
      .filter((line) => line.includes('"type":"release"') && line.includes('"action":"secret"')).length;
  const before = releases();
  const answers = await Promise.all(tunnels.map((tunnel) => tunnel.request('/')));
  t.ok(answers.every(({ status }) => status === 200));
  t.equal(asked.length, 1);
  t.equal(releases() - before, 1);
});

t.test('no agent asks for tokens itself, however it spells the path', async (t) => {
  answer = (_request, response) => json(response, { token: newToken(), expires_in: 60 }, 201);
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  await scene.setCredential('app', pem, { agents, fields: ['app_id=1', 'installation_id=2'] });
  t.match(await get('app.test', '/app'), { code: 0, stdout: /^Bearer / });
  const tunnel = await AgentTunnel.open(sallyport.proxy, bot, 'app.test');
  t.teardown(() => tunnel.close());
  const before = upstream.received.length;
  for (const path of [
    '/app/installations/2/access_tokens',
    '/app/installations/2/access_tokens/',
    '/app/installations/2/access_tokens?x=1',
    '//app/./installations/2/access%5ftokens',
    '/x/../app/installations/2/access_tokens;v=1',
    '/APP/installations/2\\access_tokens',
    '/app/installations/2/%2561ccess_tokens',
  ]) {
    const answered = await tunnel.request(path, { method: 'POST' });
    t.match(answered, { status: 403, headers: { 'x-sallyport-error': 'policy_denied' } }, path);
  }
  t.same(
    upstream.received.slice(before).map(({ path }) => path),
    [],
  );
  t.equal((await tunnel.request('/apps/2/access_tokens')).status, 200);
});

t.test('an exchanger is nobody: no file, no journal, no environment, no way to the vault', async (t) => {
  let finish = (): void => {};
  answer = (_request, response) => {
    finish = () => json(response, { token: newToken() });
  };
  await scene.setCredential('hub', marker());
  const asking = get('hub.test');
  await until('it is asked', 10_000, () => asked.length > 0);
  const { processes } = Status.parse(await sallyport.json(['status']));
  const exchanger = processes.find(({ kind }) => kind === 'exchanger');
  const pid = exchanger?.pid ?? 0;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  if (process.getuid?.() === 0) {
    t.match(status, /^Uid:\t60804\t60804\t60804\t60804$/m, 'a user of its own');
    t.match(status, /^CapEff:\t0+$/m);
    t.match(status, /^NoNewPrivs:\t1$/m);
  }
  t.equal(
    readFileSync(`/proc/${pid}/environ`, 'latin1').replaceAll('\0', ''),
    'GLIBC_TUNABLES=glibc.malloc.perturb=90',
  );
  const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
  t.notOk(
    open.some((path) => path.startsWith(sallyport.data) && !path.endsWith('/run/node')),
    open.join(' '),
  );
  finish();
  t.match(await asking, { code: 0, stdout: /^Bearer / });
  await until('it is gone', 10_000, () => !isAlive(pid));
});

t.test('a key is made in the HSM from the command line, and its public half shown', async (t) => {
  const create = [
    'credential',
    'create',
    'account',
    '--label',
    'born',
    '--agent',
    'bot',
    '--field',
    'scopes=s',
  ];
  t.match(
    await sallyport.failure([...create, '--field', 'key_json=x']),
    /^1 sallyport: "key_json" of account is a secret/,
  );
  t.match(await sallyport.failure(['credential', 'create', 'hub']), /takes no key that signs/);
  const { stdout } = await sallyport.cli([...create, '--field', 'client_email=a@b.c']);
  const publicKey = /-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/.exec(stdout)?.[0] ?? '';
  t.match(stdout, /account "born" is at version 1[\s\S]*RSA-2048[\s\S]*-----BEGIN CERTIFICATE-----/);
  answer = (_request, response) => json(response, { access_token: newToken(), expires_in: 60 });
  t.match(await get('account.test'), { code: 0, stdout: /^Bearer / });
  const [header = '', claims = '', signature = ''] = (
    new URLSearchParams(String(asked[0]?.body)).get('assertion') ?? ''
  ).split('.');
  t.ok(verify('sha256', Buffer.from(`${header}.${claims}`), publicKey, Buffer.from(signature, 'base64url')));
  const id = /credential (crd_\w+)/.exec(stdout)?.[1] ?? '';
  t.match(await sallyport.json(['credential', 'public-key', id]), { jwk: { kty: 'RSA', alg: 'RS256' } });
  t.match(
    (await sallyport.cli(['hsm', 'status'])).stdout,
    new RegExp(`${id}-1 .*RSA-2048 +yes +no +yes +yes`),
  );
  await sallyport.cli(['credential', 'remove', id]);
  t.notMatch((await sallyport.cli(['hsm', 'status'])).stdout, id);
});

t.test('a refresh token becomes an access token; one that comes back is shown the next time', async (t) => {
  const [first, second] = [newToken(), newToken()];
  const next = [marker(), marker()];
  const tokens = [first, second];
  answer = (_request, response) =>
    json(response, {
      access_token: tokens.shift(),
      token_type: 'bearer',
      expires_in: '5',
      refresh_token: next[asked.length - 1],
    });
  const secrets = { client_id: 'c', client_secret: marker(), refresh_token: marker() };
  await t.rejects(
    scene.setCredential('consent', JSON.stringify({ client_secret: 'cs' }), { fields: ['client_id=c'] }),
    /without the field refresh_token no token can be had/,
  );
  const { client_id, ...secret } = secrets;
  await scene.setCredential('consent', JSON.stringify(secret), {
    agents,
    fields: [`client_id=${client_id}`],
  });
  const form = (request: Received | undefined) =>
    Object.fromEntries(new URLSearchParams(String(request?.body)));
  t.match(await get('consent.test'), { code: 0, stdout: /^Bearer / });
  t.same(shown(), [`Bearer ${first}`]);
  t.same(form(asked[0]), { grant_type: 'refresh_token', ...secrets });
  await new Promise((resolve) => setTimeout(resolve, 5_100));
  t.match(await get('consent.test'), { code: 0, stdout: /^Bearer / });
  t.same(shown(), [`Bearer ${second}`], 'a token that has expired is used no more');
  t.match(form(asked[1]), { refresh_token: next[0] });
  const credentials = Listed.parse(await sallyport.json(['credential', 'list']));
  t.match(
    credentials.find(({ service }) => service === 'consent'),
    { version: 1 },
    'which is no new version of the credential',
  );
  const needles = [...Object.values(secret), ...next].map((each) => Buffer.from(each));
  for (const { kind, pid } of Status.parse(await sallyport.json(['status'])).processes) {
    if (kind === 'worker')
      t.same(
        countInMemory(pid, needles),
        needles.map(() => 0),
        'no worker has it',
      );
  }
});
const Status = z.object({ processes: z.array(z.object({ kind: z.string(), pid: z.number() })) });
const Listed = z.array(z.object({ service: z.string(), version: z.number() }));
