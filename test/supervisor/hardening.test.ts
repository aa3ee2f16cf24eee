import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { z } from 'zod';
import { isAlive } from '../support/processes.ts';
import { BIN, cli, startSallyport } from '../support/sallyport.ts';

t.setTimeout(120_000);
const sallyport = await startSallyport({ flags: ['--workers', '1'] });
t.teardown(sallyport.remove);
const { data, pinFile } = sallyport;
const Status = z.object({ processes: z.array(z.object({ kind: z.string(), pid: z.number() })) });
const { processes } = Status.parse(await sallyport.json(['status']));
const children = processes.filter(({ kind }) => kind !== 'supervisor');
const serve = (...more: string[]) =>
  cli([
    'serve',
    '--data',
    data,
    '--pin-file',
    pinFile,
    '--proxy-listen',
    '127.0.0.1:0',
    '--api-listen',
    '127.0.0.1:0',
    ...more,
  ]);

t.test('no process dumps core', async (t) => {
  for (const { kind, pid } of processes) {
    t.match(readFileSync(`/proc/${pid}/limits`, 'latin1'), /^Max core file size\s+0\s+0\s/m, kind);
  }
});

t.test('no signal opens an inspector or writes a report or a heap', async (t) => {
  /** Signals with a handler, one bit each (proc(5)): SIGUSR1 is 10, SIGUSR2 is 12. */
  const caught = (pid: number): bigint =>
    BigInt(`0x${/^SigCgt:\s(\w+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]}`);
  for (const { kind, pid } of processes) {
    if (kind !== 'supervisor') t.equal(caught(pid) & ((1n << 9n) | (1n << 11n)), 0n, kind);
    t.notMatch(readFileSync(`/proc/${pid}/cmdline`, 'latin1'), /--(inspect|report|heapsnapshot)/, kind);
  }
  process.kill(sallyport.pid, 'SIGUSR1');
  await delay(300);
  t.match(await sallyport.json(['status']), { version: String });
  t.notMatch(sallyport.stderr(), /[Dd]ebugger/);
});

t.test('what is written is for its owner alone', async (t) => {
  await sallyport.cli(['agent', 'add', 'bot']);
  const names = readdirSync(data, { recursive: true, encoding: 'utf8' }).filter(
    (name) => !name.startsWith('ca/'),
  );
  t.ok(names.some((name) => name.endsWith('.ndjson')) && names.some((name) => name.endsWith('.sock')));
  for (const name of names) {
    const info = lstatSync(join(data, name));
    if (name === 'run/node') t.equal(info.mode & 0o777, 0o111, 'the copy of node is there to be run');
    else t.equal(info.mode & 0o077, 0, name);
  }
});

t.test('the PIN is in no environment, no argument and no file beside the token', async (t) => {
  const pin = readFileSync(pinFile);
  for (const { kind, pid } of processes) {
    for (const file of ['environ', 'cmdline'])
      t.notOk(readFileSync(`/proc/${pid}/${file}`).includes(pin), `${kind}: ${file}`);
  }
});

t.test('an unsafe data folder is refused in one line', async (t) => {
  await sallyport.stop();
  for (const { kind, pid } of children) {
    for (let waited = 0; isAlive(pid) && waited < 5_000; waited += 50) await delay(50);
    t.notOk(isAlive(pid), `${kind} has ended`);
  }
  const refused = (why: RegExp): object => ({
    code: 1,
    stdout: '',
    stderr: new RegExp(`^sallyport: [^\\n]*${why.source}[^\\n]* \\[data_folder_unsafe\\]\\n$`),
  });
  for (const mode of [0o750, 0o705, 0o777]) {
    chmodSync(data, mode);
    t.match(await serve(), refused(/open to other users: run `chmod 700/), mode.toString(8));
  }
  chmodSync(data, 0o700);
  for (const name of ['vault', 'token', 'journal']) {
    chmodSync(join(data, name), 0o755);
    t.match(await serve(), refused(new RegExp(`has a folder ${name} that is open`)), name);
    chmodSync(join(data, name), 0o700);
    renameSync(join(data, name), join(data, 'elsewhere'));
    symlinkSync(join(data, 'elsewhere'), join(data, name));
    t.match(await serve(), refused(new RegExp(`folder ${name}, or it is not a folder`)), `${name} by a link`);
    unlinkSync(join(data, name));
    renameSync(join(data, 'elsewhere'), join(data, name));
  }
  symlinkSync(data, `${data}-link`);
  t.match(await cli(['serve', '--data', `${data}-link`, '--pin-file', pinFile]), refused(/symbolic link/));
});

t.test('where memory may not be locked, a worker says so in one line and what to do', async (t) => {
  const args = [
    '--data',
    data,
    '--pin-file',
    pinFile,
    '--proxy-listen',
    '127.0.0.1:0',
    '--api-listen',
    '127.0.0.1:0',
  ];
  const limits = [
    '--memlock=65536:65536',
    '--',
    process.execPath,
    BIN,
    'serve',
    '--json',
    '--workers',
    '1',
    ...args,
  ];
  // Root may lock whatever the limit says, but for what it starts without that right.
  const child = spawn('prlimit', limits, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH ?? '' },
  });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += String(chunk);
  });
  const ended = once(child, 'exit');
  await Promise.race([once(child.stdout, 'data'), ended]);
  child.kill('SIGTERM');
  await ended;
  t.match(
    stderr,
    /^sallyport: \d+ bytes for secrets could not be locked and may be swapped: raise RLIMIT_MEMLOCK .*$/m,
  );
});
