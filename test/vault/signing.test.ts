import t from 'tap';
import { deriveSigningKey } from '../../src/vault/credentials/derive-signing-key.ts';
import { countInMemory } from '../support/process-memory.ts';
import { install, TestVault } from '../support/vault.ts';

t.setTimeout(120_000);
const installation = await install();
const vault = await TestVault.start(installation);
t.teardown(async () => {
  await vault.stop();
  installation.remove();
});
const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
const publicFields = { access_key_id: 'AKIAIOSFODNN7EXAMPLE' };
const { token } = await vault.addAgent('bot');
await vault.setCredential('aws', { secret_access_key: SECRET }, { agents: ['bot'], publicFields });
const worker = await vault.worker();
const today = (): string => new Date().toISOString().slice(0, 10).replaceAll('-', '');
const host = 'dynamodb.eu-west-1.amazonaws.com';
const scope = () => ({ day: today(), region: 'eu-west-1', service: 'dynamodb' });

t.test('a worker gets the key of the day, region and service, and nothing else', async (t) => {
  const { header, parts, code } = await worker.askSecret(token, { host, scope: scope() });
  t.equal(code, undefined);
  t.same(header.fields, [
    { name: 'access_key_id', secret: false },
    { name: 'signing_key', secret: true },
  ]);
  t.equal(parts[0]?.toString(), publicFields.access_key_id);
  t.ok(parts[1]?.equals(deriveSigningKey(Buffer.from(SECRET), scope())));
  t.match(vault.journal().at(-1), { detail: { scope: `${today()}/eu-west-1/dynamodb` } });
});

t.test(
  'a captured worker gets no key for another service, region or day, nor the secret itself',
  async (t) => {
    const asked: [what: string, changed: object, code: string][] = [
      ['another service', { host, scope: { ...scope(), service: 'iam' } }, 'policy_denied'],
      ['another region', { host, scope: { ...scope(), region: 'us-east-1' } }, 'policy_denied'],
      ['tomorrow', { host, scope: { ...scope(), day: '20991231' } }, 'policy_denied'],
      [
        'sts',
        { host: 'sts.amazonaws.com', scope: { day: today(), region: 'us-east-1', service: 'sts' } },
        'policy_denied',
      ],
      [
        'a bucket called iam',
        {
          host: 'iam.s3.us-east-1.amazonaws.com',
          scope: { day: today(), region: 'us-east-1', service: 'iam' },
        },
        'policy_denied',
      ],
      ['a host that is not granted', { host: 'evil.example', scope: scope() }, 'policy_denied'],
      ['the secret', { host }, 'channel_malformed'],
      ['a malformed day', { host, scope: { ...scope(), day: 'today' } }, 'channel_malformed'],
    ];
    for (const [what, changed, code] of asked) {
      const answer = await worker.askSecret(token, changed);
      t.equal(answer.code, code, what);
      t.same(answer.parts, [], what);
    }
  },
);

t.test('a rule that does not sign gets no signing key', async (t) => {
  const service = {
    id: 'acme',
    hosts: [{ pattern: 'api.acme.example' }],
    auth: { inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }] },
    fields: [{ key: 'token' }],
  };
  await vault.call('POST', '/v1/services', { services: [service] });
  await vault.setCredential('acme', { token: 'value' }, { agents: ['bot'] });
  const rule = worker.policy.rules.find((each) => each.service === 'acme');
  if (!rule) throw new Error('no rule for acme');
  const { agent, id, credential, version } = rule;
  const asked = {
    type: 'secret',
    agent,
    rule: id,
    credential,
    version,
    host: 'api.acme.example',
    port: 443,
  } as const;
  t.equal((await worker.ask({ ...asked, scope: scope() }, [token])).code, 'channel_malformed');
  t.equal((await worker.ask(asked, [token])).parts[0]?.toString(), 'value');
});

/** Sets an AWS credential whose secret goes into the HSM. */
async function setInHsm(secret: string, label: string, more: Record<string, string> = {}) {
  const sealed = await vault.seal('aws', label, { secret_access_key: secret, ...more });
  return vault.call('PUT', '/v1/credentials', {
    service: 'aws',
    label,
    publicFields,
    sealed,
    hsm: true,
    agents: ['solo'],
  });
}

async function keysInHsm(): Promise<
  { label: string; extractable: boolean; sensitive: boolean; type: string }[]
> {
  const { body } = await vault.get('/v1/status');
  return body.hsm.info.keys.filter(({ label }: { label: string }) => label.startsWith('crd_'));
}

t.test('a secret that is put into the HSM signs from there, and is stored nowhere', async (t) => {
  const solo = await vault.addAgent('solo');
  const set = await setInHsm(SECRET, 'hsm', { session_token: 'token' });
  t.equal(set.status, 200);
  const label = `${set.body.id}-1`;
  t.match(await keysInHsm(), [{ label, extractable: false, sensitive: true, type: 'HMAC-SHA-256' }]);
  const ask = async () => {
    const rule = worker.policy.rules.find((each) => each.credential === set.body.id);
    if (!rule) throw new Error('no rule for it');
    const { agent, id, credential, version } = rule;
    return worker.ask(
      { type: 'secret', agent, rule: id, credential, version, host, port: 443, scope: scope() },
      [solo.token],
    );
  };
  const released = await ask();
  t.same(
    released.header.fields.map(({ name }: { name: string }) => name),
    ['access_key_id', 'signing_key', 'session_token'],
  );
  t.ok(
    released.parts[1]?.equals(deriveSigningKey(Buffer.from(SECRET), scope())),
    'the same key as by software',
  );
  t.same(countInMemory(vault.process.pid ?? -1, [Buffer.from(SECRET)]), [0], 'and the vault has it no more');

  const other = 'another/secret/access/key/0123456789abcd';
  t.equal((await setInHsm(other, 'hsm')).body.version, 2);
  t.ok((await ask()).parts[1]?.equals(deriveSigningKey(Buffer.from(other), scope())));
  const back = await vault.call('POST', '/v1/versions/rollback', { service: 'aws', label: 'hsm' });
  t.equal(back.status, 200, JSON.stringify(back.body));
  t.ok(
    (await ask()).parts[1]?.equals(deriveSigningKey(Buffer.from(SECRET), scope())),
    'a rollback takes the key up again',
  );
  t.equal((await vault.call('DELETE', `/v1/credentials/${set.body.id}`)).status, 200);
  t.same(await keysInHsm(), [], 'destroyed with the credential');
});

t.test('only a secret that signs can be put there', async (t) => {
  const sealed = await vault.seal('acme', 'hsm', { token: 'value' });
  const refused = await vault.call('PUT', '/v1/credentials', {
    service: 'acme',
    label: 'hsm',
    sealed,
    hsm: true,
  });
  t.match(refused, { status: 400, body: { code: 'invalid_argument', message: /without --hsm/ } });
  t.same(await keysInHsm(), []);
});
