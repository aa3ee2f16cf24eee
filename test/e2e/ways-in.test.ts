import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { makeCa, makeServerCert } from '../support/certificates.ts';
import { curl } from '../support/curl.ts';
import { startScene } from '../support/scene.ts';
import { portOf } from '../support/tls-server.ts';
import { valuesOf } from '../support/upstream.ts';

t.setTimeout(120_000);

/** A server without TLS that says which Authorization it got, and nothing at all to who asks for /silence. */
const plain = createServer((request, response) => {
  if (request.url === '/silence') return;
  response.end(`${request.headers.host} ${request.url} ${request.headers.authorization ?? 'none'}\n`);
}).listen(0, '127.0.0.1');
await once(plain, 'listening');
const toPlain = ['inside.test:80', 'open.test:80', 'bearer.test:80'].flatMap((host) => [
  '--upstream-resolve',
  `${host}=127.0.0.1:${portOf(plain)}`,
]);

const header = { in: 'header', name: 'Authorization', value: 'Bearer {token}' };
const services = [
  {
    id: 'bearer',
    hosts: [{ pattern: 'bearer.test' }],
    auth: { inject: [header] },
    fields: [{ key: 'token' }],
  },
  {
    id: 'inside',
    hosts: [{ pattern: 'inside.test:80' }],
    auth: { inject: [header] },
    fields: [{ key: 'token' }],
    plain_http: true,
    limits: { body_bytes: 100, head_timeout_ms: 500 },
  },
];
const scene = await startScene({
  hosts: ['bearer.test:443', 'open.test:443'],
  services,
  flags: ['--workers', '1', '--proxy-tls-listen', '127.0.0.1:0', '--proxy-tls-name', 'localhost', ...toPlain],
});
t.teardown(async () => {
  await scene.remove();
  plain.close();
});
const { sallyport, upstream } = scene;
const bot = await scene.addAgent('bot');
const secret = `secret-${randomBytes(16).toString('hex')}`;
await scene.setCredential('bearer', secret, { agents: ['bot'] });
await scene.setCredential('inside', secret, { agents: ['bot'] });
const { proxyTls } = Object(await sallyport.json(['status']));
const folder = mkdtempSync(join(tmpdir(), 'sallyport-ways-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const caFile = join(folder, 'ca.pem');
writeFileSync(caFile, bot.ca);
const socks = (scheme: string): string => sallyport.proxy.replace('http:', `${scheme}:`);
const secure = `https://localhost:${new URL(proxyTls).port}`;

t.beforeEach(() => upstream.forget());

for (const [name, proxy, more] of [
  ['SOCKS5, the name resolved by us', socks('socks5h'), []],
  [
    'SOCKS5, the name resolved by the client, to somewhere else',
    socks('socks5'),
    ['--resolve', 'bearer.test:443:192.0.2.1'],
  ],
  ['CONNECT over TLS', secure, ['--proxy-cacert', caFile]],
] as const) {
  t.test(`curl: ${name}`, async (t) => {
    const result = await curl(proxy, bot, [...more, 'https://bearer.test/a']);
    t.match(result, { code: 0, stdout: 'answer 1\n', stderr: '' });
    t.same(valuesOf(upstream.last, 'authorization'), [`Bearer ${secret}`]);
  });
}

t.test('curl: http:// with a credential where its service allows it, over each way', async (t) => {
  for (const [proxy, more] of [
    [sallyport.proxy, []],
    [sallyport.proxy, ['--proxytunnel']],
    [socks('socks5h'), []],
    [secure, ['--proxy-cacert', caFile]],
  ] as const) {
    const result = await curl(proxy, bot, [...more, 'http://inside.test/x']);
    t.equal(
      result.stdout,
      `inside.test /x Bearer ${'*'.repeat(secret.length)}\n`,
      `${proxy} ${more.join(' ')}`,
    );
  }
  const result = await curl(sallyport.proxy, bot, ['--data', 'x'.repeat(101), 'http://inside.test/x']);
  t.match(result.stdout, /"code":"content_too_large"/, "and its service's limit holds");
  const silent = await curl(sallyport.proxy, bot, ['http://inside.test/silence']);
  t.match(silent.stdout, /"status":504.*"code":"upstream_timeout"/, 'that of time too');
});

t.test('curl: http:// where it does not', async (t) => {
  const refused = await curl(sallyport.proxy, bot, ['http://bearer.test/']);
  t.match(refused.stdout, /"status":403.*"code":"policy_denied"/);
  t.match(refused.stdout, /https:\/\//, 'it is told what to ask for');
});

t.test('what no grant names is reached once the owner says so, and no longer than that', async (t) => {
  t.match((await curl(sallyport.proxy, bot, ['http://open.test/y'])).stdout, /host_not_granted/);
  t.match(await sallyport.json(['agent', 'set', 'bot', '--unlisted', 'tunnel']), {
    name: 'bot',
    unlisted: 'tunnel',
  });
  t.equal((await curl(sallyport.proxy, bot, ['http://open.test/y'])).stdout, 'open.test /y none\n');
  const tunnelled = await curl(sallyport.proxy, bot, ['https://open.test/']);
  t.equal(tunnelled.code, 60, "the server's own certificate is seen, which this agent does not trust");
  t.match(
    (await curl(sallyport.proxy, bot, ['--insecure', 'https://open.test/'])).stdout,
    /answer/,
    'the tunnel is not terminated',
  );
  t.same(valuesOf(upstream.last, 'authorization'), []);
  await sallyport.cli(['agent', 'set', 'bot', '--unlisted', 'deny']);
  t.match((await curl(sallyport.proxy, bot, ['http://open.test/y'])).stdout, /host_not_granted/);
  const { stdout } = await sallyport.cli(['--json', 'audit', 'tail', '--all']);
  const passed = stdout.split('\n').filter((line) => line.includes('"passed"'));
  t.match(
    passed.map((line) => JSON.parse(line)),
    [
      { method: 'GET', host: 'open.test', port: 80, path: '/y', service: null, reason: 'unlisted' },
      { method: 'CONNECT', host: 'open.test', port: 443 },
      { method: 'CONNECT', host: 'open.test', port: 443 },
    ],
  );
});

t.test('the CA file of an agent has its own authority and that of the TLS listener', async (t) => {
  const { stdout } = await sallyport.cli(['agent', 'ca', 'bot']);
  t.equal(stdout.match(/BEGIN CERTIFICATE/g)?.length, 2);
  t.equal(stdout, bot.ca);
  t.match(await sallyport.json(['agent', 'list']), [{ name: 'bot', unlisted: 'deny' }]);
});

t.test('run goes through the TLS listener, where it is told to', async (t) => {
  // curl reads no variable for the roots of a proxy.
  const command = 'curl -sS --proxy-cacert "$CURL_CA_BUNDLE" https://bearer.test/';
  const args = ['run', '--agent', 'bot', '--proxy', secure, '--ca', caFile, '--', 'sh', '-c', command];
  const result = await sallyport.cli(args, { env: { SALLYPORT_TOKEN: bot.token } });
  t.match(result, { code: 0, stdout: 'answer 1\n' });
});

t.test('serve refuses settings of the listener that cannot be', async (t) => {
  await sallyport.stop();
  const cert = join(folder, 'cert.pem');
  writeFileSync(cert, bot.ca);
  const key = join(folder, 'key.pem');
  writeFileSync(key, makeServerCert(makeCa('Another'), 'localhost').key);
  const serve = [
    'serve',
    '--proxy-listen',
    '127.0.0.1:0',
    '--api-listen',
    '127.0.0.1:0',
    '--proxy-tls-listen',
    '127.0.0.1:0',
  ];
  const rows: readonly [string[], RegExp][] = [
    [['--proxy-tls-cert', cert], /given together .*\[invalid_settings\]/],
    [
      ['--proxy-tls-cert', cert, '--proxy-tls-key', '/nonexistent'],
      /\/nonexistent cannot be read .*\[invalid_settings\]/,
    ],
    [
      ['--proxy-tls-cert', '/nonexistent', '--proxy-tls-key', cert],
      /--proxy-tls-cert cannot be read .*\[invalid_settings\]/,
    ],
    [
      ['--proxy-tls-cert', cert, '--proxy-tls-key', cert],
      /^1 [^\n]* cannot be used: give PEM files that belong together[^\n]* \[invalid_settings\]\n$/,
    ],
    [
      ['--proxy-tls-cert', cert, '--proxy-tls-key', key],
      /^1 [^\n]* cannot be used: give PEM files that belong together[^\n]* \[invalid_settings\]\n$/,
    ],
    [['--proxy-tls-name', 'no/name'], /neither a host name nor an address.*\[invalid_settings\]/],
  ];
  for (const [flags, line] of rows)
    t.match(await sallyport.failure([...serve, ...flags]), line, flags.join(' '));
});
