import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import t from 'tap';
import { basic, connect } from '../support/agent.ts';
import { BIN, type CliOptions, type CliResult, cli } from '../support/sallyport.ts';
import { startScene } from '../support/scene.ts';
import { valuesOf } from '../support/upstream.ts';

t.setTimeout(120_000);
const scene = await startScene({ flags: ['--workers', '1'] });
t.teardown(scene.remove);
const { sallyport, upstream } = scene;
const bot = await scene.addAgent('bot');
await scene.setCredential('bearer', 'the-secret', { agents: ['bot'] });
await scene.setCredential('login', 'the-secret', { agents: ['bot'], fields: ['user=someone'] });

/** https://git-scm.com/docs/http-protocol, "dumb" clients: what `git ls-remote` needs of a repository. */
const COMMIT = createHash('sha1').update('a commit').digest('hex');
upstream.respond = ({ path }, response) => {
  response.setHeader('Content-Type', 'text/plain');
  if (path.includes('/info/refs')) response.end(`${COMMIT}\trefs/heads/main\n`);
  else if (path.endsWith('/HEAD')) response.end('ref: refs/heads/main\n');
  else response.end('answer\n');
};
t.beforeEach(() => upstream.forget());

const PYTHON =
  'import urllib.request; print(urllib.request.urlopen("https://bearer.test/").read().decode(), end="")';
const CLIENTS: Record<string, { words: string[]; prints: RegExp; carries: string }> = {
  curl: {
    words: ['curl', '-sS', 'https://bearer.test/'],
    prints: /^answer\n$/,
    carries: 'Bearer the-secret',
  },
  wget: {
    words: ['wget', '-q', '-O', '-', 'https://bearer.test/'],
    prints: /^answer\n$/,
    carries: 'Bearer the-secret',
  },
  "Node's fetch": {
    words: [
      process.execPath,
      '-e',
      'fetch("https://bearer.test/").then((r) => r.text()).then((text) => process.stdout.write(text))',
    ],
    prints: /^answer\n$/,
    carries: 'Bearer the-secret',
  },
  "Node's https": {
    words: [
      process.execPath,
      '-e',
      'require("https").get("https://bearer.test/", (response) => response.pipe(process.stdout))',
    ],
    prints: /^answer\n$/,
    carries: 'Bearer the-secret',
  },
  "Python's urllib": {
    words: ['python3', '-c', PYTHON],
    prints: /^answer\n$/,
    carries: 'Bearer the-secret',
  },
  git: {
    words: ['git', 'ls-remote', 'https://login.test/repository.git'],
    prints: new RegExp(`^(${COMMIT}\tHEAD\n)?${COMMIT}\trefs/heads/main\n$`),
    carries: `Basic ${Buffer.from('someone:the-secret').toString('base64')}`,
  },
};

for (const [client, { words, prints, carries }] of Object.entries(CLIENTS)) {
  const missing = spawnSync(words[0] ?? '', ['--version'], { stdio: 'ignore' }).error !== undefined;
  t.test(
    `${client} goes through the proxy, and trusts it`,
    { skip: missing && 'not installed' },
    async (t) => {
      const result = await run(words);
      t.match(result, { code: 0, stdout: prints }, result.stderr);
      t.ok(upstream.received.length > 0);
      for (const request of upstream.received) t.same(valuesOf(request, 'authorization'), [carries]);
      t.notMatch(result.stdout + result.stderr, /the-secret/);
    },
  );
}

t.test('the command gets the variables that clients read, and files that are there', async (t) => {
  const { stdout } = await run(['env', '-0'], { env: { ALL_PROXY: 'socks5://x', no_proxy: '.corp' } });
  const environment = Object.fromEntries(stdout.split('\0').map((pair) => pair.split(/=(.*)/s).slice(0, 2)));
  const proxy = new RegExp(`^http://bot:spa_[\\w-]{43}@${sallyport.proxy.slice(7)}$`);
  for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'WS_PROXY', 'WSS_PROXY']) {
    t.match(environment[name], proxy, name);
    t.match(environment[name.toLowerCase()], proxy, name.toLowerCase());
  }
  t.notOk('ALL_PROXY' in environment);
  t.equal(environment.NO_PROXY, '.corp,localhost,127.0.0.1,::1');
  t.match(environment.NODE_EXTRA_CA_CERTS, /\/ca\.pem$/);
  t.equal(environment.DENO_CERT, environment.NODE_EXTRA_CA_CERTS);
  const bundled = [
    ...['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'GIT_SSL_CAINFO', 'AWS_CA_BUNDLE'],
    ...['PIP_CERT', 'CARGO_HTTP_CAINFO', 'CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE', 'HTTPLIB2_CA_CERTS'],
    ...['GRPC_DEFAULT_SSL_ROOTS_FILE_PATH', 'NIX_SSL_CERT_FILE', 'PERL_LWP_SSL_CA_FILE', 'npm_config_cafile'],
  ];
  for (const name of bundled) t.match(environment[name], /\/bundle\.pem$/, name);
  t.match(environment, {
    NODE_USE_ENV_PROXY: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_HTTP_PROXY_AUTHMETHOD: 'basic',
    AWS_EC2_METADATA_DISABLED: 'true',
    WGETRC: /\/wgetrc$/,
  });
  t.notMatch(stdout, /the-secret|SALLYPORT_|SOFTHSM|_PIN=/);

  const files = await run([
    'sh',
    '-c',
    'grep -c BEGIN "$SSL_CERT_FILE" "$NODE_EXTRA_CA_CERTS"; cat "$WGETRC"',
  ]);
  const [roots, own] = [...files.stdout.matchAll(/pem:(\d+)$/gm)].map(([, count]) => Number(count));
  t.ok((roots ?? 0) > 50, "the system's roots and the agent's");
  t.equal(own, bot.ca.match(/BEGIN/g)?.length, 'the own ones alone');
  t.notOk(existsSync(String(environment.SSL_CERT_FILE)), 'they are gone with the command');
});

t.test('its token lives as long as the command, unless it was given', async (t) => {
  const { stdout } = await run(['sh', '-c', 'echo $HTTPS_PROXY; curl -sS https://bearer.test/']);
  const [, token = ''] = /bot:([^@]+)@/.exec(stdout) ?? [];
  t.match(stdout, /\nanswer\n$/, 'good while it runs');
  t.equal(await status(token), 407, 'and never again');

  const given = await run(['sh', '-c', 'echo $HTTPS_PROXY; curl -sS https://bearer.test/'], {
    env: { SALLYPORT_TOKEN: bot.token },
  });
  t.match(given.stdout, new RegExp(`bot:${bot.token}@.*\nanswer\n$`));
  t.equal(await status(bot.token), 200, 'one that was given stays');
});

t.test('input, output, exit code and signals are those of the command', async (t) => {
  t.match(await run(['sh', '-c', 'cat; echo err >&2; exit 42'], { stdin: 'in\n' }), {
    code: 42,
    stdout: 'in\n',
    stderr: 'err\n',
  });
  t.match(await run(['sh', '-c', 'kill -TERM $$']), { code: 128 + 15 });
  t.match(await run(['sh', '-c', 'echo "$1" "$2"', 'sh', '--json', 'a  b']), { stdout: '--json a  b\n' });
  const script = 'trap "echo got it; exit 9" INT; echo up; while :; do sleep 0.05; done';
  const args = ['--data', sallyport.data, 'run', '--agent', 'bot', '--', 'sh', '-c', script];
  const child = spawn(process.execPath, [BIN, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.on('data', (chunk) => {
    printed += String(chunk);
    if (printed === 'up\n') child.kill('SIGINT');
  });
  t.equal(await new Promise((resolve) => child.once('close', resolve)), 9);
  t.equal(printed, 'up\ngot it\n');
});

function run(words: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return cli(['--data', sallyport.data, 'run', '--agent', 'bot', '--', ...words], options);
}

async function status(token: string): Promise<number> {
  const { answer, socket } = await connect(sallyport.proxy, 'bearer.test:443', basic({ name: 'bot', token }));
  socket.destroy();
  return answer.status;
}
