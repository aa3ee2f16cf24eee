import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { BIN, cli } from '../support/sallyport.ts';

const COMMANDS = [
  [],
  ['init'],
  ['serve'],
  ['status'],
  ['agent'],
  ...['add', 'set', 'list', 'rotate', 'remove', 'ca', 'rotate-ca', 'retire-ca'].map((name) => [
    'agent',
    name,
  ]),
  ['authority'],
  ...['rotate', 'retire'].map((name) => ['authority', name]),
  ['service'],
  ...['list', 'show', 'add'].map((name) => ['service', name]),
  ['credential'],
  ...['set', 'create', 'public-key', 'list', 'remove'].map((name) => ['credential', name]),
  ['grant'],
  ...['add', 'remove', 'list'].map((name) => ['grant', name]),
  ['run'],
  ['audit'],
  ...['tail', 'verify'].map((name) => ['audit', name]),
];

t.test('every command has help with examples', async (t) => {
  for (let at = 0; at < COMMANDS.length; at += 4) {
    await Promise.all(
      COMMANDS.slice(at, at + 4).map(async (command) => {
        const { code, stdout, stderr } = await cli([...command, '--help']);
        t.match({ code, stderr }, { code: 0, stderr: '' }, command.join(' '));
        t.match(stdout, /^Usage: sallyport[\s\S]*Examples:\n {2}\$ /, command.join(' '));
      }),
    );
  }
});

t.test('every mistake is one line and exit code 1, as JSON where asked', async (t) => {
  const mistakes = [
    ['nonsense'],
    ['--nonsense'],
    ['agent'],
    ['agent', 'nonsense'],
    ['agent', 'add'],
    ['agent', 'add', 'a', 'b'],
    ['audit', 'tail', '-n', 'x'],
    ['run', '--agent', 'bot'],
    ['service', 'add'],
    ['status', '--data', '/nonexistent'],
    ['serve', '--data', '/nonexistent'],
    ['agent', 'list', '--data', '/nonexistent'],
  ];
  for (const mistake of mistakes) {
    const [plain, json] = await Promise.all([cli(mistake), cli(['--json', ...mistake])]);
    t.match(plain, { code: 1, stdout: '', stderr: /^sallyport: [^\n]+ \[[a-z_]+\]\n$/ }, mistake.join(' '));
    t.match(json, { code: 1, stdout: '', stderr: /^[^\n]+\n$/ }, mistake.join(' '));
    t.match(JSON.parse(json.stderr), { error: { code: /^[a-z_]+$/, message: /\w/ } }, mistake.join(' '));
  }
});

t.test('a reader that goes away is no error', async (t) => {
  const { status, stderr } = spawnSync('sh', ['-c', `"${process.execPath}" "${BIN}" --help | true`], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH ?? '' },
  });
  t.match({ status, stderr }, { status: 0, stderr: '' });
});

const older = ['/usr/bin/node', '/usr/local/bin/node'].find((file) => {
  const version = existsSync(file) ? spawnSync(file, ['--version'], { encoding: 'utf8' }).stdout : '';
  return /^v\d+/.test(version) && Number(version.slice(1).split('.')[0]) < 24;
});
const skip = older === undefined && 'there is no older Node on this machine';

t.test('called under an older Node it runs on the bundled one', { skip }, async (t) => {
  const file = older ?? '';
  const result = spawnSync(file, [BIN, 'agent', 'nonsense'], { encoding: 'utf8' });
  t.match(result, { status: 1, stdout: '', stderr: /^sallyport: [^\n]+ \[invalid_argument\]\n$/ });
  const running = spawn(
    file,
    [BIN, 'run', '--agent', 'bot', '--proxy', 'http://127.0.0.1:1', '--ca', caFile(), '--', 'sleep', '60'],
    {
      env: { PATH: process.env.PATH ?? '', SALLYPORT_TOKEN: 'spa_x' },
      stdio: 'ignore',
    },
  );
  setTimeout(() => running.kill('SIGTERM'), 1_500);
  const code = await new Promise((resolve) =>
    running.once('exit', (status, signal) => resolve(status ?? signal)),
  );
  t.equal(code, 128 + 15, 'the signal reached the command, and its end came back');
});

t.test('without the bundled Node an older one says what to do', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-test-')); // with no node_modules above it
  t.teardown(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'src', 'cli'), { recursive: true });
  const lonely = join(folder, 'src', 'cli', 'bin.cjs');
  copyFileSync(BIN, lonely);
  const result = spawnSync(older ?? '', [lonely, 'status'], { encoding: 'utf8' });
  t.match(result, {
    status: 1,
    stdout: '',
    stderr: /^sallyport: This is Node [^\n]+ scripts\/setup [^\n]+\n$/,
  });
});

function caFile(): string {
  return '/etc/ssl/certs/ca-certificates.crt';
}
