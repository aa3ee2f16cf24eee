import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  verify,
  X509Certificate,
} from 'node:crypto';
import t from 'tap';
import { makeCa, makeClientPair } from '../../support/certificates.ts';
import { TokenScene } from '../../support/token-scene.ts';

t.setTimeout(120_000);
const scene = await TokenScene.start();
t.teardown(() => scene.close());
const { vault, endpoint, ask } = scene;
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const privateKey = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' });
const fingerprint = (spki: Buffer): string => createHash('sha256').update(spki).digest('base64');
const create = async (service: string, publicFields: object = {}, more: object = {}) => {
  const input = { service, publicFields, agents: ['bot'], ...more };
  const { status, body } = await vault.call('POST', '/v1/credentials/keys', input);
  if (status !== 200) throw new Error(JSON.stringify(body));
  return body;
};
const claimsOf = (jwt: string, publicKey: ReturnType<typeof createPublicKey>) => {
  const [header = '', claims = '', signature = ''] = jwt.split('.');
  const sound = verify(
    'sha256',
    Buffer.from(`${header}.${claims}`),
    publicKey,
    Buffer.from(signature, 'base64url'),
  );
  return { sound, ...JSON.parse(Buffer.from(claims, 'base64url').toString()) };
};
const fields = { account: 'org-acc.eu', user: 'robot' };

t.test("Snowflake's token is a JWT that the key signs, and asks nobody", async (t) => {
  const spki = rsa.publicKey.export({ type: 'spki', format: 'der' });
  for (const said of [fingerprint(spki), `SHA256:${fingerprint(spki)}`]) {
    const publicFields = { ...fields, public_key_fingerprint: said };
    const set = await vault.setCredential(
      'warehouse',
      { private_key: privateKey },
      { agents: ['bot'], publicFields },
    );
    t.equal(set.status, 200);
    const { header, parts } = await ask('warehouse');
    t.same(header.fields, [{ name: 'jwt', secret: true }]);
    t.ok(header.maxAgeMs > 3_400_000 && header.maxAgeMs <= 3_540_000, `${header.maxAgeMs} ms`);
    const claims = claimsOf(String(parts[0]), rsa.publicKey);
    t.match(claims, {
      sound: true,
      sub: 'ORG-ACC-EU.ROBOT',
      iss: `ORG-ACC-EU.ROBOT.SHA256:${fingerprint(spki)}`,
    });
    const now = Date.now() / 1_000;
    t.ok(
      claims.exp - claims.iat === 3_600 && claims.iat < now && claims.exp > now + 3_500,
      'an hour, no more',
    );
  }
  t.equal(endpoint.upstream.received.length, 0);
  const [first, second] = [await ask('warehouse'), await ask('warehouse')];
  t.same(String(first.parts[0]), String(second.parts[0]), 'made once for many requests');
});

t.test('its key may be born in the HSM, and then needs no fingerprint', async (t) => {
  const { key } = await create('warehouse', fields);
  t.match(key, { type: 'RSA-2048', signs: 'tokens' });
  const publicKey = createPublicKey(key.publicKey);
  const claims = claimsOf(String((await ask('warehouse')).parts[0]), publicKey);
  t.match(claims, {
    sound: true,
    iss: `ORG-ACC-EU.ROBOT.SHA256:${fingerprint(publicKey.export({ type: 'spki', format: 'der' }))}`,
  });
});

t.test(
  'a key that came from elsewhere is refused without its fingerprint, and as what it is not',
  async (t) => {
    const cases: [object, string, RegExp][] = [
      [{}, privateKey, /public_key_fingerprint of warehouse is missing/],
      [{ public_key_fingerprint: 'x' }, 'nonsense', /private_key of warehouse is not an RSA private key/],
    ];
    for (const [more, private_key, message] of cases) {
      const set = await vault.setCredential(
        'warehouse',
        { private_key },
        { label: 'other', publicFields: { ...fields, ...more } },
      );
      t.match(set, { status: 422, body: { code: 'invalid_credential', message } });
    }
  },
);

t.test('a key in the HSM issues client certificates for an hour, each with a key of its own', async (t) => {
  const { id, key } = await create('mutual', { common_name: 'robot-1' });
  t.match(key, { type: 'EC P-256', signs: 'certificates' });
  const root = new X509Certificate(key.certificate);
  t.ok(root.ca && root.verify(root.publicKey) && root.publicKey.equals(createPublicKey(key.publicKey)));
  const { header, parts } = await ask('mutual');
  t.same(
    header.fields,
    [{ name: 'issued_certificate', secret: false }],
    'no answer can contain what is never sent',
  );
  t.ok(header.maxAgeMs > 3_000_000 && header.maxAgeMs <= 3_570_000, `${header.maxAgeMs} ms`);
  const issued = new X509Certificate(parts[0] ?? Buffer.alloc(0));
  t.ok(issued.checkIssued(root) && issued.verify(root.publicKey));
  t.ok(issued.checkPrivateKey(createPrivateKey(parts[0] ?? Buffer.alloc(0))));
  t.notOk(issued.publicKey.equals(root.publicKey));
  t.match(issued, { ca: false, subject: 'CN=robot-1', keyUsage: ['1.3.6.1.5.5.7.3.2'] });
  const lifetimeMs = issued.validToDate.getTime() - issued.validFromDate.getTime();
  t.ok(lifetimeMs <= 3_600_000 && issued.validFromDate.getTime() < Date.now());
  t.same((await ask('mutual')).parts[0], parts[0], 'made once for many connections');
  const again = new X509Certificate((await vault.get(`/v1/credentials/${id}/key`)).body.certificate);
  t.ok(issued.checkIssued(again) && issued.verify(again.publicKey), 'whenever its certificate is shown');
  t.equal(endpoint.upstream.received.length, 0);
});

t.test(
  'another key of the credential is another authority, under whose name nothing older is accepted',
  async (t) => {
    const before = new X509Certificate((await ask('mutual')).parts[0] ?? Buffer.alloc(0));
    const { key } = await create('mutual', { common_name: 'robot-1' });
    const root = new X509Certificate(key.certificate);
    t.notOk(before.checkIssued(root));
    await vault.until('the new version is in force', () =>
      scene.worker.policy.rules.some(({ service, version }) => service === 'mutual' && version === 2),
    );
    t.ok(new X509Certificate((await ask('mutual')).parts[0] ?? Buffer.alloc(0)).checkIssued(root));
  },
);

t.test('keys that issue certificates come from the HSM alone, and are of its kind', async (t) => {
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  });
  t.match(await vault.setCredential('mutual', { private_key: ec }, { label: 'given' }), {
    status: 422,
    body: { code: 'invalid_credential', message: /born in the HSM.*credential create mutual/ },
  });
  const refused = await vault.call('POST', '/v1/credentials/keys', {
    service: 'mutual',
    publicFields: {},
    type: 'rsa-2048',
  });
  t.match(refused.body, { code: 'invalid_argument' });
});

t.test('a client certificate that its owner has is shown as it is, where it is one', async (t) => {
  const clients = makeCa('Clients');
  const [one, two] = [makeClientPair(clients, 'one'), makeClientPair(clients, 'two')];
  const [keyOnly = '', certificateOnly = ''] = one.split(/(?=-----BEGIN CERTIFICATE)/);
  const [, another = ''] = two.split(/(?=-----BEGIN CERTIFICATE)/);
  for (const pem of ['nonsense', keyOnly, certificateOnly, keyOnly + another]) {
    t.match(await vault.setCredential('shown', { pem }, { agents: ['bot'] }), {
      status: 422,
      body: {
        code: 'invalid_credential',
        message: /pem of shown is no client certificate with its private key/,
      },
    });
  }
  t.equal(
    (await vault.setCredential('shown', { pem: one + certificateOnly }, { agents: ['bot'] })).status,
    200,
  );
  const { header, parts } = await ask('shown');
  t.same(header.fields, [{ name: 'pem', secret: false }]);
  t.equal(String(parts[0]), one + certificateOnly);
  t.equal(
    (await vault.call('POST', '/v1/credentials/keys', { service: 'shown', publicFields: {} })).body.code,
    'invalid_argument',
  );
});
