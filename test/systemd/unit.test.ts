import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { z } from 'zod';
import { descendants } from '../support/processes.ts';
import { BIN, cli } from '../support/sallyport.ts';

t.setTimeout(120_000);
const UNIT = fileURLToPath(new URL('../../systemd/sallyport.service', import.meta.url));
/** What systemd-analyze may say at most, of 10: it rose to this where it had to, and no further. */
const EXPOSURE = 3.2;
const unit = readFileSync(UNIT, 'utf8');
const ROOT = process.getuid?.() === 0;
const missing = (command: string): string | false =>
  spawnSync(command, ['--version']).error ? `${command} is not installed` : false;

function settings(name: string): string[] {
  return Array.from(unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm')), ([, value]) => value ?? '');
}

t.test('what the unit leaves exposed is little', { skip: missing('systemd-analyze') }, async (t) => {
  const args = ['security', '--offline=true', '--no-pager', `--threshold=${EXPOSURE * 10}`, UNIT];
  const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' });
  const exposure = /Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1];
  t.equal(status, 0, stderr);
  t.ok(Number(exposure) <= EXPOSURE, `exposure ${exposure}`);
  t.notMatch(stderr, /Unknown|Failed to parse|ignoring/i, 'every line of it is understood');
});

t.test('the PIN is in no environment and no argument', async (t) => {
  t.same(settings('LoadCredential'), ['sallyport-pin:/etc/sallyport/pin']);
  t.same(settings('Environment'), []);
  t.notMatch(settings('ExecStart')[0], /pin/);
});

t.test('a wrong PIN is tried once: nothing starts serve again after it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-systemd-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const data = join(folder, 'data');
  t.equal((await cli(['init', '--data', data])).code, 0);
  const wrong = join(folder, 'wrong');
  writeFileSync(wrong, '0123456789', { mode: 0o400 });
  const ports = ['--proxy-listen', '127.0.0.1:0', '--api-listen', '127.0.0.1:0'];
  const { code, stderr } = await cli(['serve', '--data', data, '--pin-file', wrong, ...ports]);
  t.match(stderr, /\[hsm_pin_wrong\]/);
  t.same(settings('Restart'), ['on-failure']);
  t.same(settings('RestartPreventExitStatus'), [String(code)]);
  t.not(code, 1, 'other failures are tried again');
  const [interval, burst, pause] = ['StartLimitIntervalSec', 'StartLimitBurst', 'RestartSec'].map((name) =>
    Number(settings(name)[0]),
  );
  if (!interval || !burst || !pause) throw new Error('three numbers');
  t.ok(burst * (pause + 10) < interval, 'starts that fail within 10 seconds each come to an end');
});

t.test(
  'serve runs with the capabilities that the unit leaves it',
  { skip: !ROOT && 'only root has any' },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-systemd-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const [data, pin, credentials] = ['data', 'pin', 'credentials'].map((name) => join(folder, name));
    if (!data || !pin || !credentials) throw new Error('three paths');
    t.equal((await cli(['init', '--data', data, '--pin-file', pin])).code, 0);
    mkdirSync(credentials, { mode: 0o700 });
    copyFileSync(pin, join(credentials, 'sallyport-pin'));
    rmSync(pin); // what init noted is not there: the credential is what counts
    const capabilities =
      settings('CapabilityBoundingSet')[0]
        ?.split(' ')
        .map((name) => name.slice(4).toLowerCase()) ?? [];
    const bounds = ['-all', ...capabilities.map((name) => `+${name}`)].join(',');
    const serve = [process.execPath, BIN, 'serve', '--json', '--data', data, '--workers', '1'];
    const ports = ['--proxy-listen', '127.0.0.1:0', '--api-listen', '127.0.0.1:0'];
    const child = spawn('setpriv', ['--bounding-set', bounds, '--no-new-privs', '--', ...serve, ...ports], {
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin', CREDENTIALS_DIRECTORY: credentials },
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: '/',
    });
    const ended = once(child, 'exit');
    const ready = new Promise<string>((resolve) =>
      child.stdout.once('data', (chunk) => resolve(String(chunk))),
    );
    t.match(await Promise.race([ready, ended.then(() => 'ended')]), /"event":"ready"/);
    const status = await cli(['status', '--json', '--data', data]);
    const Status = z.object({
      isolation: z.literal('uid'),
      processes: z.array(z.object({ kind: z.string(), pid: z.number() })),
    });
    const { processes } = Status.parse(status.json());
    for (const { kind, pid } of processes) {
      const about = readFileSync(`/proc/${pid}/status`, 'latin1');
      t.match(about, /^NoNewPrivs:\s1$/m, kind);
      if (kind !== 'supervisor') t.match(about, /^CapBnd:\s0+$/m, kind);
    }
    const secret = readFileSync(join(credentials, 'sallyport-pin'), 'latin1').trim();
    for (const { pid } of descendants(child.pid ?? -1)) {
      t.notMatch(readFileSync(`/proc/${pid}/environ`, 'latin1'), secret);
      t.notMatch(readFileSync(`/proc/${pid}/cmdline`, 'latin1'), secret);
    }
    child.kill('SIGTERM');
    t.same(await ended, [0, null]);
  },
);
