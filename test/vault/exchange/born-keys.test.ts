import { createPublicKey, verify, X509Certificate } from 'node:crypto';
import t from 'tap';
import { bytesOf } from '../../keyholder/ask.ts';
import { startKeyholder } from '../../support/softhsm.ts';
import { TokenScene } from '../../support/token-scene.ts';
import { valuesOf } from '../../support/upstream.ts';

t.setTimeout(120_000);
const scene = await TokenScene.start();
t.teardown(() => scene.close());
const { installation, endpoint, ask } = scene;
let { vault } = scene;

const create = async (service: string, publicFields: object, more: object = {}) => {
  const input = { service, publicFields, agents: ['bot'], ...more };
  const { status, body } = await vault.call('POST', '/v1/credentials/keys', input);
  if (status !== 200) throw new Error(JSON.stringify(body));
  return body;
};
// biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever the keyholder reports.
const keys = async (): Promise<any[]> => {
  const { body } = await vault.get('/v1/status');
  return body.hsm.info.keys.filter(({ label }: { label: string }) => label.startsWith('crd_'));
};
const claimsOf = (jwt: string, publicKey: string) => {
  const [header = '', claims = '', signature = ''] = jwt.split('.');
  const key = { key: createPublicKey(publicKey), dsaEncoding: 'ieee-p1363' as const };
  const sound = verify(
    'sha256',
    Buffer.from(`${header}.${claims}`),
    key,
    Buffer.from(signature, 'base64url'),
  );
  return { sound, ...JSON.parse(Buffer.from(claims, 'base64url').toString()) };
};
const token = { access_token: 'token-1', expires_in: 3600 };

t.test('a key that is born in the HSM signs assertions, and cannot leave it', async (t) => {
  endpoint.answer(token);
  const { id, key } = await create('account', { client_email: 'a@b.c', scopes: 's' });
  t.equal(key.type, 'RSA-2048');
  t.same((await ask('account')).parts.map(String), ['token-1']);
  t.match(claimsOf(endpoint.form().assertion ?? '', key.publicKey), {
    sound: true,
    iss: 'a@b.c',
    scope: 's',
  });
  t.match(await keys(), [
    {
      label: `${id}-1`,
      type: 'RSA-2048',
      sensitive: true,
      extractable: false,
      neverExtractable: true,
      local: true,
    },
  ]);
  const certificate = new X509Certificate(key.certificate);
  t.ok(certificate.verify(createPublicKey(key.publicKey)), 'its certificate is of its own signature');
  t.ok(certificate.publicKey.equals(createPublicKey(key.publicKey)));
  t.ok(createPublicKey({ key: key.jwk, format: 'jwk' }).equals(createPublicKey(key.publicKey)));
  t.same((await vault.get(`/v1/credentials/${id}/key`)).body.publicKey, key.publicKey);
  t.equal((await vault.get('/v1/credentials/crd_none/key')).status, 404);
});

t.test('so do those of Apps and of requests', async (t) => {
  const app = await create('app', { app_id: '1', installation_id: '2' }, { type: 'rsa-3072' });
  t.equal(app.key.type, 'RSA-3072');
  endpoint.answer({ token: 'ghs', expires_at: new Date(Date.now() + 3_600_000).toISOString() }, 201);
  t.same((await ask('app')).parts.map(String), ['ghs']);
  const [authorization = ''] = valuesOf(endpoint.upstream.last, 'authorization');
  t.match(claimsOf(authorization.replace('Bearer ', ''), app.key.publicKey), { sound: true, iss: '1' });
  const { key } = await create('signed', { key_name: 'k' });
  t.match(key, { type: 'EC P-256', jwk: { kty: 'EC', crv: 'P-256', alg: 'ES256' } });
  const { parts } = await ask('signed', { method: 'GET', path: '/a' });
  t.match(claimsOf(String(parts[0]), key.publicKey), { sound: true, uri: 'GET signed.test/a' });
  t.ok(new X509Certificate(key.certificate).verify(createPublicKey(key.publicKey)));
});

t.test(
  'a new key is a new version; the one before can be taken up again, and goes with its version',
  async (t) => {
    const first = (await keys()).find(({ type }) => type === 'EC P-256').label;
    const one = (await vault.get(`/v1/credentials/${first.replace(/-1$/, '')}/key`)).body;
    const two = await create('signed', { key_name: 'k' });
    t.equal(two.version, 2);
    const signer = async () => {
      const { parts } = await ask('signed', { method: 'GET', path: '/' });
      return [one, two.key].findIndex(({ publicKey }) => claimsOf(String(parts[0]), publicKey).sound);
    };
    t.equal(await signer(), 1);
    await vault.call('POST', '/v1/versions/rollback', { service: 'signed' });
    t.equal(await signer(), 0, 'rolled back');
    const labels = async () =>
      (await keys()).map(({ label }) => label).filter((label) => label.startsWith(two.id));
    t.same((await labels()).sort(), [`${two.id}-1`, `${two.id}-2`]);
    const shredded = await vault.call('POST', `/v1/credentials/${two.id}/shred`, { version: 2 });
    const key = `${two.id}-2`;
    t.match(
      shredded.body,
      { hsmKey: key, keys: [key], left: [], complete: true },
      'no KEK opens a key that is gone',
    );
    const listed = (await vault.get('/v1/credentials')).body;
    t.match(
      listed.find(({ id }: { id: string }) => id === two.id),
      { inHsm: true },
    );
    t.same(await labels(), [`${two.id}-1`], 'the current version refers to it');
    t.equal(await signer(), 0);
    const { body } = await vault.call('DELETE', `/v1/credentials/${two.id}`);
    t.match(body, { left: [], complete: true });
    t.same(await labels(), []);
  },
);

t.test('what is no key to be born is refused, and leaves none behind', async (t) => {
  const before = await keys();
  const cases: [string, object, object, string][] = [
    ['robot', { client_id: 'c', tenant: 't' }, {}, 'invalid_argument'],
    ['account', { scopes: 's' }, { type: 'p-256' }, 'invalid_argument'],
    ['signed', { key_name: 'k' }, { type: 'rsa-2048' }, 'invalid_argument'],
    ['signed', {}, {}, 'invalid_credential'],
    ['signed', { key_name: 'k' }, { type: 'dsa' }, 'invalid_argument'],
    ['nothing', {}, {}, 'not_found'],
    ['signed', { key_name: 'k' }, { agents: ['nobody'] }, 'not_found'],
  ];
  for (const [service, publicFields, more, code] of cases) {
    const { body } = await vault.call('POST', '/v1/credentials/keys', { service, publicFields, ...more });
    t.equal(body.code, code, `${service} ${JSON.stringify(more)}`);
  }
  const { body } = await vault.call('POST', '/v1/credentials/keys', {
    service: 'snowflake',
    publicFields: {},
  });
  t.match(body.message, /of the catalog these take one: .*snowflake-key-pair/i);
  t.same(await keys(), before);
});

t.test("nobody borrows another credential's key by naming it", async (t) => {
  const [{ label }] = await keys();
  const private_key = `pkcs11:object=${label};type=private`;
  const set = await vault.setCredential('signed', { private_key }, { publicFields: { key_name: 'k' } });
  t.match(set, { status: 422, body: { code: 'invalid_credential' } });
});

t.test('keys live on with the store; one that the store does not know goes', async (t) => {
  const before = await keys();
  t.equal(before.length, 2);
  await vault.stop();
  const keyholder = await startKeyholder(installation.hsm);
  const orphan = `crd_${'0'.repeat(32)}-1`;
  await bytesOf(keyholder, { verb: 'key.make', label: orphan, type: 'p-256' });
  await keyholder.stop();
  ({ vault } = await scene.again());
  endpoint.answer({ ...token, access_token: 'token-2' });
  t.same((await ask('account')).parts.map(String), ['token-2']);
  t.same(
    (await keys()).map((each) => each.label).sort(),
    before.map((each) => each.label).sort(),
    'what a crash left between HSM and store is gone',
  );
});
