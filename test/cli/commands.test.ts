import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BIN, cli, startSallyport } from '../support/sallyport.ts';

const SERVICE = {
  id: 'demo',
  name: 'Demo',
  category: 'test',
  hosts: [{ pattern: 'demo.test' }],
  auth: { scheme: 'header', inject: [{ in: 'header', name: 'X-Key', value: '{key} {extra}' }] },
  fields: [
    { key: 'key', label: 'Key', secret: true },
    { key: 'extra', label: 'Extra', secret: true, optional: true },
    { key: 'region', label: 'Region', secret: false, optional: true },
  ],
};

const sallyport = await startSallyport({ flags: ['--workers', '1'] });
t.teardown(() => sallyport.remove());
const { data } = sallyport;

t.test('an agent is added, listed, gets another token, and is removed', async (t) => {
  const added = await sallyport.json(['agent', 'add', 'bot']);
  t.match(added, {
    id: String,
    name: 'bot',
    token: /^spa_[\w-]{43}$/,
    ca: join(data, 'ca', 'bot.pem'),
    proxy: sallyport.proxy,
  });
  t.match(readFileSync(join(data, 'ca', 'bot.pem'), 'utf8'), /^-----BEGIN CERTIFICATE-----/);
  t.equal(
    (await sallyport.cli(['agent', 'ca', 'bot'])).stdout,
    readFileSync(join(data, 'ca', 'bot.pem'), 'utf8'),
  );
  t.match(await sallyport.json(['agent', 'list']), [{ name: 'bot' }]);
  t.match(
    (await sallyport.cli(['agent', 'list'])).stdout,
    /^NAME +ID +UNLISTED +CREATED\nbot +\S+ +deny +\S+\n$/,
  );
  t.match(await sallyport.json(['agent', 'rotate', 'bot']), { token: /^spa_[\w-]{43}$/ });
  t.match(await sallyport.failure(['agent', 'add', 'bot']), /^1 sallyport: [^\n]+ \[already_exists\]\n$/);
  t.match(
    await sallyport.failure(['agent', 'add', '../bot']),
    /^1 sallyport: [^\n]+ \[invalid_argument\]\n$/,
  );
  t.match(await sallyport.failure(['agent', 'rotate', 'nobody']), /^1 sallyport: [^\n]+ \[not_found\]\n$/);
  await sallyport.cli(['agent', 'remove', 'bot']);
  t.notOk(existsSync(join(data, 'ca', 'bot.pem')));
  t.strictSame(await sallyport.json(['agent', 'list']), []);
});

t.test('a service of one’s own is added, and what is wrong with it is said', async (t) => {
  const file = join(data, 'service.json');
  writeFileSync(file, JSON.stringify(SERVICE));
  t.match(await sallyport.json(['service', 'add', '--file', file]), { added: ['demo'], updated: [] });
  t.match(await sallyport.json(['service', 'add', '--file', file]), { added: [], updated: ['demo'] });
  t.match(await sallyport.json(['service', 'show', 'demo']), { id: 'demo', name: 'Demo' });
  t.match((await sallyport.cli(['service', 'list'])).stdout, /^demo +Demo +header +0 +demo\.test$/m);
  writeFileSync(file, JSON.stringify({ ...SERVICE, hosts: [] }));
  t.match(
    await sallyport.failure(['service', 'add', '--file', file]),
    /^1 sallyport: [^\n]*hosts[^\n]* \[invalid_service\]\n$/,
  );
  t.match(
    await sallyport.failure(['service', 'add', '--file', join(data, 'nowhere')]),
    /^1 sallyport: [^\n]+ \[invalid_argument\]\n$/,
  );
  t.match(await sallyport.failure(['service', 'show', 'nothing']), /^1 sallyport: [^\n]+ \[not_found\]\n$/);
});

t.test('a credential is set from standard input or a file, and never printed', async (t) => {
  await sallyport.cli(['agent', 'add', 'user']);
  const secret = '{"key":"s3cret-one"}';
  const set = ['credential', 'set', 'demo', '--agent', 'user', '--field', 'region=eu'];
  const first = await sallyport.json(set, { stdin: secret });
  t.match(first, { id: String, service: 'demo', label: 'default', version: 1 });
  const file = join(data, 'secret.json');
  writeFileSync(file, '{"key":"s3cret-two","extra":"more"}\n');
  t.match(await sallyport.json([...set, '--file', file]), { version: 2 });
  const listed = await sallyport.cli(['credential', 'list', '--json']);
  t.match(listed.json(), [{ service: 'demo', version: 2, agents: ['user'], publicFields: { region: 'eu' } }]);
  t.notMatch(listed.stdout + sallyport.stderr(), /s3cret/);
});

t.test('a secret that does not fit is refused, without a word of it', async (t) => {
  const set = ['credential', 'set', 'demo'];
  const wrong: [string[], string, RegExp][] = [
    [set, '', /\[invalid_credential\]/],
    [set, '\n', /\[invalid_credential\]/],
    [set, 's3cret', /"key", "extra" \(optional\)[^\n]+\[invalid_credential\]/],
    [set, '{"extra":"s3cret"}', /"key" is missing[^\n]+\[invalid_credential\]/],
    [set, '{"key":"s3cret","other":"x"}', /another name[^\n]+\[invalid_credential\]/],
    [set, '{"key":"s3cret","key":"x"}', /twice[^\n]+\[invalid_credential\]/],
    [[...set, '--field', 'key=s3cret'], '{"key":"x"}', /standard input[^\n]+\[invalid_argument\]/],
    [[...set, '--field', 'nothing=x'], '{"key":"x"}', /it takes region[^\n]+\[invalid_argument\]/],
    [[...set, '--agent', 'nobody'], '{"key":"s3cret"}', /\[not_found\]/],
    [['credential', 'set', 'nothing'], 's3cret', /\[not_found\]/],
  ];
  for (const [args, stdin, message] of wrong) {
    const line = await sallyport.failure(args, { stdin });
    t.match(line, /^1 sallyport: [^\n]+\n$/, stdin);
    t.match(line, message, stdin);
    t.notMatch(line, /s3cret/, stdin);
  }
});

t.test('grants are given, listed and taken back', async (t) => {
  t.match(await sallyport.json(['grant', 'list']), [{ agent: 'user', service: 'demo', label: 'default' }]);
  const again = ['grant', 'add', 'user', 'demo', '--method', 'get', 'POST', '--path', '/a'];
  t.match(await sallyport.json(again), { created: false }, 'one that exists is no error');
  t.match(await sallyport.json(['grant', 'list']), [{ methods: ['GET', 'POST'], paths: ['/a'] }]);
  await sallyport.cli(['credential', 'set', 'demo', '--label', 'other'], { stdin: '{"key":"s3cret-three"}' });
  await sallyport.cli(['agent', 'add', 'second']);
  t.match(
    await sallyport.failure(['grant', 'add', 'second', 'demo']),
    /^1 sallyport: [^\n]+ \[ambiguous_label\]\n$/,
  );
  await sallyport.cli(['grant', 'remove', 'user', 'demo']);
  t.strictSame(await sallyport.json(['grant', 'list']), []);
});

t.test('a command runs as the agent, and ends as it ended', async (t) => {
  const run = (script: string, env = {}) =>
    cli(['--data', data, 'run', '--agent', 'user', '--', 'sh', '-c', script], { env });
  const shown = await run(
    'echo $HTTPS_PROXY; test -s $SSL_CERT_FILE && test -s $NODE_EXTRA_CA_CERTS; dirname $WGETRC',
    { SALLYPORT_DATA: data },
  );
  t.match(shown.stdout, new RegExp(`^http://user:spa_[\\w-]{43}@${sallyport.proxy.slice(7)}\n`));
  t.notOk(existsSync(shown.stdout.trim().split('\n')[1] ?? '/'), 'its files are gone');
  t.match(await run('echo out; echo err >&2; exit 7'), { code: 7, stdout: 'out\n', stderr: 'err\n' });
  t.match(await run('kill -KILL $$'), { code: 128 + 9 });
  t.match(await run('env'), { stdout: /^(?!.*SALLYPORT_).*$/s });
  t.match((await run('echo $HTTPS_PROXY', { SALLYPORT_TOKEN: 'spa_given' })).stdout, /user:spa_given@/);
  t.match(
    await sallyport.failure(['run', '--agent', 'user', '--', 'no-such-program']),
    /^1 sallyport: [^\n]+no such program[^\n]+\n$/,
  );
  t.match(
    await sallyport.failure(['run', '--agent', 'nobody', '--', 'true']),
    /^1 sallyport: [^\n]+ \[not_found\]\n$/,
  );

  const child = spawn(
    process.execPath,
    [
      BIN,
      '--data',
      data,
      'run',
      '--agent',
      'user',
      '--',
      'sh',
      '-c',
      'trap "exit 9" TERM; echo up; while :; do sleep 0.1; done',
    ],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  child.stdout.once('data', () => child.kill('SIGTERM'));
  t.equal(await new Promise((resolve) => child.once('exit', resolve)), 9, 'signals are passed on');
});
