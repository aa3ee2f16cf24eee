import { randomBytes } from 'node:crypto';
import t from 'tap';
import { z } from 'zod';
import { AgentTunnel } from '../support/agent.ts';
import { isSignedBy } from '../support/aws.ts';
import { curl } from '../support/curl.ts';
import { countInMemory } from '../support/process-memory.ts';
import { startScene } from '../support/scene.ts';
import { valuesOf } from '../support/upstream.ts';

t.setTimeout(180_000);
const DYNAMO = 'dynamodb.us-east-1.amazonaws.com';
const BUCKET = 'examplebucket.s3.eu-west-1.amazonaws.com';
const STS = 'sts.us-east-1.amazonaws.com';
const hosts = [DYNAMO, BUCKET, STS, 'iam.amazonaws.com'].map((host) => `${host}:443`);
/** What an owner adds who wants an agent to call sts: the host named as it is. */
const OWN_STS = {
  id: 'own-sts',
  hosts: [{ pattern: STS }],
  auth: { inject: [{ in: 'sign', algorithm: 'AWS4-HMAC-SHA256' }] },
  fields: [{ key: 'access_key_id', secret: false }, { key: 'secret_access_key' }],
};
const scene = await startScene({ flags: ['--workers', '1'], hosts, services: [OWN_STS] });
t.teardown(scene.remove);
const { sallyport, upstream } = scene;
const secret = randomBytes(30).toString('base64');
const token = `session-${randomBytes(24).toString('base64')}`;
const ID = 'AKIAIOSFODNN7EXAMPLE';
const bot = await scene.addAgent('bot');
const value = JSON.stringify({ secret_access_key: secret, session_token: token });
await scene.setCredential('aws', value, { agents: ['bot'], fields: [`access_key_id=${ID}`] });
const PLACEHOLDER = 'AKIAVAULTPLACEHOLDER:vaultplaceholder';

t.beforeEach(() => {
  upstream.forget();
  upstream.respond = (_request, response) => response.end('{}');
});

/** curl signs as the SDKs do, with keys that are none. */
const signing = (scope: string, ...args: string[]) =>
  curl(sallyport.proxy, bot, [
    '--http1.1',
    '--aws-sigv4',
    `aws:amz:${scope}`,
    '--user',
    PLACEHOLDER,
    ...args,
  ]);

async function ask(host: string, path: string, options: Parameters<AgentTunnel['request']>[1] = {}) {
  const tunnel = await AgentTunnel.open(sallyport.proxy, bot, host);
  try {
    const { status, body } = await tunnel.request(path, options);
    return { status, text: body.toString() };
  } finally {
    tunnel.close();
  }
}

const claim = (scope: string, key = 'AKIAVAULTPLACEHOLDER'): string =>
  `AWS4-HMAC-SHA256 Credential=${key}/20261124/${scope}/aws4_request, SignedHeaders=host, Signature=${'0'.repeat(64)}`;

t.test('a request is signed anew, its body hashed, and the placeholder is gone', async (t) => {
  const json = [
    '--header',
    'Content-Type: application/x-amz-json-1.0',
    '--header',
    'X-Amz-Target: DynamoDB_20120810.ListTables',
  ];
  t.match(await signing('us-east-1:dynamodb', ...json, '--data', '{"Limit":1}', `https://${DYNAMO}/`), {
    code: 0,
    stdout: '{}',
  });
  t.ok(isSignedBy(upstream.last, secret));
  t.equal(upstream.last.body.toString(), '{"Limit":1}');
  t.same(valuesOf(upstream.last, 'x-amz-security-token'), [token]);
  t.match(valuesOf(upstream.last, 'authorization')[0], `Credential=${ID}/`);
  t.notMatch(upstream.last.fields.join('\n'), /PLACEHOLDER/);
});

t.test('bodies in chunks, large and empty ones are signed too', async (t) => {
  const headers = {
    authorization: claim('us-east-1/dynamodb'),
    'content-type': 'application/x-amz-json-1.0',
  };
  const large = 'x'.repeat(3 * 1024 * 1024);
  for (const body of ['', '{}', large]) {
    t.equal((await ask(DYNAMO, '/', { method: 'POST', headers, body })).status, 200);
    t.ok(isSignedBy(upstream.last, secret), `${body.length} bytes`);
    t.equal(upstream.last.body.length, body.length);
  }
  const chunked = { ...headers, 'transfer-encoding': 'chunked' };
  t.equal((await ask(DYNAMO, '/', { method: 'POST', headers: chunked, body: large })).status, 200);
  t.ok(isSignedBy(upstream.last, secret));
  const tunnel = await AgentTunnel.open(sallyport.proxy, bot, DYNAMO);
  for (let round = 0; round < 3; round++) {
    t.equal((await tunnel.request('/', { method: 'POST', headers, body: `{"round":${round}}` })).status, 200);
    t.ok(isSignedBy(upstream.last, secret), 'one after another on one connection');
  }
  tunnel.close();
});

t.test('so are bodies over HTTP/2, and those that wait to be asked for', async (t) => {
  const url = `https://${DYNAMO}/`;
  const keys = ['--aws-sigv4', 'aws:amz:us-east-1:dynamodb', '--user', PLACEHOLDER];
  t.match(await curl(sallyport.proxy, bot, ['--http2', ...keys, '--data', 'x'.repeat(100_000), url]), {
    code: 0,
    stdout: '{}',
  });
  t.ok(isSignedBy(upstream.last, secret));
  t.equal(upstream.last.body.length, 100_000);
  const began = performance.now();
  t.match(await signing('us-east-1:dynamodb', '--header', 'Expect: 100-continue', '--data', 'body', url), {
    code: 0,
  });
  t.ok(performance.now() - began < 900, 'curl need not wait its second');
  t.ok(isSignedBy(upstream.last, secret));
});

t.test('a body that is too large to be held is refused, with advice', async (t) => {
  const headers = { authorization: claim('us-east-1/dynamodb') };
  const answer = await ask(DYNAMO, '/', {
    method: 'POST',
    headers,
    body: 'x'.repeat(17 * 1024 * 1024),
  }).catch(String);
  t.match(answer, { status: 413, text: /X-Amz-Content-Sha256/ });
  t.equal(upstream.received.length, 0);
});

t.test('without a signature the scope is that of the host; S3 needs no hash of the body', async (t) => {
  t.equal((await ask(BUCKET, '/a%20b?versionId=1', { method: 'PUT', body: 'object' })).status, 200);
  t.ok(isSignedBy(upstream.last, secret));
  t.same(valuesOf(upstream.last, 'x-amz-content-sha256'), ['UNSIGNED-PAYLOAD']);
  t.match(valuesOf(upstream.last, 'authorization')[0], '/eu-west-1/s3/aws4_request');
  t.match(await signing('eu-west-1:s3', '--upload-file', import.meta.filename, `https://${BUCKET}/key`), {
    code: 0,
  });
  t.ok(isSignedBy(upstream.last, secret));
  const trailer = {
    'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
    'content-encoding': 'aws-chunked',
  };
  t.equal((await ask(BUCKET, '/key', { method: 'PUT', headers: trailer, body: '0\r\n\r\n' })).status, 200);
  t.ok(isSignedBy(upstream.last, secret));
});

t.test(
  'a URL presigned with the placeholder is signed in the head; one of another key is refused',
  async (t) => {
    const query = (key: string): string =>
      `?versionId=1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${key}%2F20261124%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20261124T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=${'0'.repeat(64)}`;
    t.equal((await ask(BUCKET, `/key${query('AKIAVAULTPLACEHOLDER')}`)).status, 200);
    t.equal(upstream.last.path, '/key?versionId=1');
    t.ok(isSignedBy(upstream.last, secret));
    upstream.forget();
    t.match(await ask(BUCKET, `/key${query(ID)}`), { status: 400, text: /presigned with a key of its own/ });
    t.equal(upstream.received.length, 0);
  },
);

t.test('what a host is not is refused, and nothing goes out', async (t) => {
  const refused: [
    what: string,
    host: string,
    headers: Record<string, string>,
    status: number,
    text: RegExp,
  ][] = [
    [
      'another service',
      DYNAMO,
      { authorization: claim('us-east-1/iam') },
      400,
      /signed for iam in us-east-1/,
    ],
    ['another region', DYNAMO, { authorization: claim('eu-west-1/dynamodb') }, 400, /in eu-west-1/],
    ['no scope', DYNAMO, { authorization: 'AWS4-HMAC-SHA256 Credential=x, Signature=y' }, 400, /scope/],
    [
      'iam',
      'iam.amazonaws.com',
      { authorization: claim('us-east-1/iam') },
      403,
      /hand out or change credentials/,
    ],
    [
      'several regions',
      BUCKET,
      { authorization: 'AWS4-ECDSA-P256-SHA256 Credential=x' },
      501,
      /several regions/,
    ],
    [
      'chunks signed one by one',
      BUCKET,
      { authorization: claim('eu-west-1/s3'), 'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' },
      501,
      /turn chunk signing off/,
    ],
    [
      'no hash',
      BUCKET,
      { authorization: claim('eu-west-1/s3'), 'x-amz-content-sha256': 'none' },
      400,
      /SHA-256/,
    ],
  ];
  for (const [what, host, headers, status, text] of refused) {
    t.match(await ask(host, '/', { method: 'PUT', headers }), { status, text }, what);
  }
  t.match(await ask(STS, '/?Action=AssumeRole'), { status: 403 }, 'sts by a wildcard');
  t.equal(upstream.received.length, 0);
});

t.test('sts is signed for where the owner names its host', async (t) => {
  const own = await scene.addAgent('own');
  await scene.setCredential('own-sts', secret, { agents: ['own'], fields: [`access_key_id=${ID}`] });
  const tunnel = await AgentTunnel.open(sallyport.proxy, own, STS);
  t.teardown(() => tunnel.close());
  t.equal((await tunnel.request('/?Action=GetCallerIdentity&Version=2011-06-15')).status, 200);
  t.ok(isSignedBy(upstream.last, secret));
});

t.test('what the server echoes of it is overwritten', async (t) => {
  upstream.respond = ({ fields }, response) => response.end(fields.join('\n'));
  const { text } = await ask(BUCKET, '/key');
  t.notMatch(text, token);
  t.notMatch(text, /Signature=[0-9a-f]/);
  t.match(text, /\*{20}/);
});

t.test(
  'the secret access key is never in a worker, nor in the vault once it has derived from it',
  async (t) => {
    const Status = z.object({ processes: z.array(z.object({ kind: z.string(), pid: z.number() })) });
    const { processes } = Status.parse(await sallyport.json(['status']));
    for (const { kind, pid } of processes) {
      const needles = [Buffer.from(secret), Buffer.from(secret, 'utf16le')];
      t.same(countInMemory(pid, needles), [0, 0], kind);
    }
    const journal = (await sallyport.cli(['audit', 'tail'])).stdout;
    t.match(journal, /dynamodb/);
    t.notMatch(journal, secret);
  },
);

t.test('with --hsm the secret access key is in the HSM alone', async (t) => {
  const own = await scene.addAgent('hsm');
  const other = randomBytes(30).toString('base64');
  const set = [
    'credential',
    'set',
    'aws',
    '--hsm',
    '--label',
    'hsm',
    '--agent',
    'hsm',
    '--field',
    `access_key_id=${ID}`,
  ];
  await sallyport.cli(set, { stdin: JSON.stringify({ secret_access_key: other }) });
  const tunnel = await AgentTunnel.open(sallyport.proxy, own, BUCKET);
  t.teardown(() => tunnel.close());
  t.equal((await tunnel.request('/key')).status, 200);
  t.ok(isSignedBy(upstream.last, other));
  const keys = JSON.stringify(await sallyport.json(['hsm', 'status']));
  t.match(
    keys,
    /"label":"crd_[0-9a-f]{32}-1","id":"[0-9a-f]{4}","type":"HMAC-SHA-256","extractable":false,"sensitive":true/,
  );
  t.match(
    await sallyport.failure(['credential', 'set', 'own-sts', '--hsm', '--field', `access_key_id=${ID}`], {
      stdin: other,
    }),
    /^0 /,
    'any service that signs takes it',
  );
});

t.test('removed, it signs nothing more', async (t) => {
  const { id } = z.object({ id: z.string() }).parse(
    z
      .array(z.looseObject({ service: z.string() }))
      .parse(await sallyport.json(['credential', 'list']))
      .find((each) => each.service === 'aws'),
  );
  await sallyport.cli(['credential', 'remove', id]);
  await t.rejects(ask(BUCKET, '/key'), /403/);
  t.equal(upstream.received.length, 0);
});
