import { createPublicKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { TokenScene } from '../../support/token-scene.ts';
import { valuesOf } from '../../support/upstream.ts';

t.setTimeout(120_000);
const scene = await TokenScene.start();
t.teardown(() => scene.close());
const { endpoint, ask } = scene;
let { vault, worker } = scene;
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const rsaPem = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' });

const set = async (service: string, secrets: Record<string, string>, publicFields = {}) => {
  const answer = await vault.setCredential(service, secrets, { agents: ['bot'], publicFields });
  if (answer.status !== 200) throw new Error(JSON.stringify(answer.body));
};
/** The claims of a JWT whose signature is of that key. */
const verified = (jwt: string, key: KeyObject, t: Test) => {
  const [header = '', claims = '', signature = ''] = jwt.split('.');
  const der = { key, dsaEncoding: 'ieee-p1363' as const };
  t.ok(verify('sha256', Buffer.from(`${header}.${claims}`), der, Buffer.from(signature, 'base64url')));
  const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString());
  return { header: read(header), claims: read(claims) };
};

t.test('a service account signs an assertion for its token (RFC 7523)', async (t) => {
  const key_json = JSON.stringify({
    type: 'service_account',
    private_key_id: 'kid-1',
    private_key: rsaPem,
    client_email: 'robot@project.test',
    token_uri: 'https://evil.test/token',
  });
  await set('account', { key_json }, { scopes: 'https://scope.test/a, https://scope.test/b' });
  endpoint.answer({ access_token: 'ya29.token', token_type: 'Bearer', expires_in: 3599 });
  const { header, parts, code } = await ask('account');
  t.equal(code, undefined);
  t.same(header.fields, [{ name: 'access_token', secret: true }]);
  t.same(parts.map(String), ['ya29.token']);
  t.ok(header.maxAgeMs > 3_500_000 && header.maxAgeMs <= 3_569_000, `${header.maxAgeMs} ms`);
  const form = endpoint.form();
  t.equal(form.grant_type, 'urn:ietf:params:oauth:grant-type:jwt-bearer');
  const jwt = verified(form.assertion ?? '', rsa.publicKey, t);
  t.match(jwt.header, { alg: 'RS256', typ: 'JWT', kid: 'kid-1' });
  const now = Math.floor(Date.now() / 1_000);
  t.match(jwt.claims, {
    iss: 'robot@project.test',
    scope: 'https://scope.test/a https://scope.test/b',
    aud: 'https://token.test/token',
  });
  t.ok(Math.abs(jwt.claims.iat - now) < 30 && jwt.claims.exp - jwt.claims.iat === 300);
});

t.test("a GitHub App's key makes a JWT, and that the installation's token", async (t) => {
  const private_key = rsa.privateKey.export({ type: 'pkcs1', format: 'pem' });
  await set('app', { private_key }, { app_id: '12', installation_id: '34/../5' });
  const expires_at = new Date(Date.now() + 3_600_000).toISOString();
  endpoint.answer({ token: 'ghs_token', expires_at, permissions: {} }, 201);
  const { header, parts, code } = await ask('app');
  t.equal(code, undefined);
  t.same(parts.map(String), ['ghs_token']);
  t.same(header.fields, [{ name: 'installation_token', secret: true }]);
  t.ok(header.maxAgeMs > 3_500_000 && header.maxAgeMs <= 3_570_000, `${header.maxAgeMs} ms`);
  t.match(endpoint.upstream.last, { method: 'POST', path: '/app/installations/34%2F..%2F5/access_tokens' });
  const [authorization = ''] = valuesOf(endpoint.upstream.last, 'authorization');
  const { claims } = verified(authorization.replace('Bearer ', ''), rsa.publicKey, t);
  t.match(claims, { iss: '12' });
  t.ok(claims.exp - claims.iat <= 600 && claims.iat < Date.now() / 1_000, 'as GitHub wants it');
});

t.test('a password becomes a JWT, whose own expiry counts', async (t) => {
  await set('hub', { token: 'dckr_pat_"\\' }, { username: 'me' });
  const exp = Math.floor(Date.now() / 1_000) + 600;
  const jwt = `e30.${Buffer.from(JSON.stringify({ exp })).toString('base64url')}.c2ln`;
  endpoint.answer({ token: jwt });
  const { header, parts } = await ask('hub');
  t.same(parts.map(String), [jwt]);
  t.ok(header.maxAgeMs > 540_000 && header.maxAgeMs <= 571_000, `${header.maxAgeMs} ms`);
  t.same(JSON.parse(endpoint.upstream.last.body.toString()), { username: 'me', password: 'dckr_pat_"\\' });
  t.same(valuesOf(endpoint.upstream.last, 'content-type'), ['application/json']);
});

t.test('a JWT is made for each request, over its method, host and path', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const private_key = privateKey.export({ type: 'sec1', format: 'pem' }).replaceAll('\n', '\\n');
  await set('signed', { private_key }, { key_name: 'organizations/o/apiKeys/k' });
  const before = endpoint.upstream.received.length;
  const one = await ask('signed', { method: 'GET', path: '/api/v3/accounts' });
  const two = await ask('signed', { method: 'POST', path: '/api/v3/orders' });
  t.same(one.header.fields, [{ name: 'jwt', secret: true }]);
  const first = verified(String(one.parts[0]), publicKey, t);
  const second = verified(String(two.parts[0]), publicKey, t);
  t.match(first.header, { alg: 'ES256', kid: 'organizations/o/apiKeys/k' });
  t.match(first.claims, {
    iss: 'cdp',
    sub: 'organizations/o/apiKeys/k',
    uri: 'GET signed.test/api/v3/accounts',
  });
  t.equal(second.claims.uri, 'POST signed.test/api/v3/orders');
  t.not(first.header.nonce, second.header.nonce);
  t.equal((await ask('signed')).code, 'channel_malformed', 'for no request there is no token');
  t.equal(endpoint.upstream.received.length, before, 'nobody is asked');
  t.match(
    vault.journal().findLast(({ type }) => type === 'release'),
    { action: 'secret', detail: { method: 'POST', path: '/api/v3/orders' } },
  );
  t.equal(createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })).asymmetricKeyType, 'ec');
});

t.test('where a server takes the client in the body alone, it is shown there', async (t) => {
  await set('robot', { client_secret: 'cs-0123456789' }, { client_id: 'id', tenant: 't' });
  endpoint.upstream.respond = (request, response) => {
    const inBody = request.body.includes('client_secret=');
    response.writeHead(inBody ? 200 : 401, { 'content-type': 'application/json' });
    response.end(JSON.stringify(inBody ? { access_token: 'body-token' } : { error: 'invalid_client' }));
  };
  const { header, parts } = await ask('robot');
  t.same(parts.map(String), ['body-token', 't']);
  t.same(header.fields, [
    { name: 'access_token', secret: true },
    { name: 'tenant', secret: false },
  ]);
  t.match(endpoint.form(), { client_id: 'id', client_secret: 'cs-0123456789', account: 't' });
  t.ok(header.maxAgeMs <= 270_000, 'where it says nothing, the token is not kept for long');
});

t.test('what cannot be a key is said so, without quoting it', async (t) => {
  const broken = '-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----';
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const elliptic = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const cases: [string, Record<string, string>, RegExp][] = [
    ['app', { private_key: broken }, /private_key of app is not an RSA private key in PEM/],
    ['app', { private_key: elliptic }, /not an RSA private key/],
    ['signed', { private_key: rsaPem }, /private_key of signed is not a P-256 private key in PEM/],
    ['account', { key_json: '{"private_key": 1}' }, /is not a service account's JSON file/],
    ['account', { key_json: rsaPem }, /is not a service account's JSON file/],
  ];
  for (const [service, secrets, message] of cases) {
    const { status, body } = await vault.setCredential(service, secrets);
    t.match({ status, code: body.code }, { status: 422, code: 'invalid_credential' }, service);
    t.match(body.detail ?? body.message, message);
    t.notMatch(JSON.stringify(body), /bm90|BEGIN/);
  }
});

t.test('a token is made anew before it ends, while the old one still serves', async (t) => {
  await set('hub', { token: 'another-password' }, { username: 'me' });
  endpoint.answer({ token: 'old', expires_in: 8 });
  t.same((await ask('hub')).parts.map(String), ['old']);
  endpoint.answer({ token: 'new', expires_in: 8 });
  const before = endpoint.upstream.received.length;
  t.same((await ask('hub')).parts.map(String), ['old']);
  await delay(6_050);
  const { header, parts } = await ask('hub');
  t.same(parts.map(String), ['old'], 'nobody waits');
  t.ok(header.maxAgeMs < 1_200, 'and nobody keeps it');
  await vault.until('the new one is there', async () => String((await ask('hub')).parts[0]) === 'new');
  t.equal(endpoint.upstream.received.length, before + 1);
});

t.test('a refresh token that came back is stored before the token is used', async (t) => {
  await set('consent', { client_secret: 'cs', refresh_token: 'rt-1' }, { client_id: 'id' });
  const { version } = worker.policy.rules.find(({ service }) => service === 'consent') ?? {};
  endpoint.answer({ access_token: 'at-1', refresh_token: 'rt-2', expires_in: 3600 });
  t.same((await ask('consent')).parts.map(String), ['at-1']);
  t.match(endpoint.form(), { grant_type: 'refresh_token', refresh_token: 'rt-1' });
  t.match(
    vault.journal().findLast(({ type }) => type === 'admin'),
    { action: 'credential.refresh', detail: { service: 'consent', version } },
  );
  await vault.kill();
  ({ vault, worker } = await scene.again());
  endpoint.answer({ access_token: 'at-2', refresh_token: 'rt-2', expires_in: 3600 });
  t.same((await ask('consent')).parts.map(String), ['at-2'], 'the token itself is not stored');
  t.match(endpoint.form(), { refresh_token: 'rt-2' });
  t.equal(worker.policy.rules.find(({ service }) => service === 'consent')?.version, version);
});
