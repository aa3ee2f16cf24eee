import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { makeShim } from '../support/pkcs11-shim.ts';
import { descendants, isAlive, until } from '../support/processes.ts';
import { BIN, cli, startSallyport } from '../support/sallyport.ts';
import { makeSoftHsm, runProvision, useHere } from '../support/softhsm.ts';

/*
 * What holds a PIN or a clear secret outside serve: no core is made of it, and no signal opens a debugger in it, however
 * generous the shell is that starts it.
 */
t.setTimeout(120_000);
const generous = spawnSync('prlimit', ['--core=unlimited', 'true']).status === 0;
const SIGNALS = { SIGUSR1: 1n << 9n, SIGUSR2: 1n << 11n };

/** Runs `sallyport ARGS`, cores allowed; its standard input is left open. */
function run(t: Test, args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  const variables = Object.entries({ PATH: process.env.PATH ?? '', ...env }).map((pair) => pair.join('='));
  const command = ['/usr/bin/env', '-i', ...variables, process.execPath, BIN, ...args];
  const limit = generous ? ['--core=unlimited'] : [];
  const child = spawn('prlimit', [...limit, ...command], { stdio: ['pipe', 'ignore', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

/** As proc(5) shows it; empty once it has ended. */
function about(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}

function hardened(t: Test, pid: number, what: string): void {
  t.match(about(pid, 'limits'), /^Max core file size\s+0\s+0\s/m, `${what} dumps no core`);
  const caught = BigInt(`0x${/^SigCgt:\s(\w+)$/m.exec(about(pid, 'status'))?.[1]}`);
  t.equal(caught & (SIGNALS.SIGUSR1 | SIGNALS.SIGUSR2), 0n, `${what} has no handler for these signals`);
}

t.test('a secret that is being entered', async (t) => {
  const sallyport = await startSallyport({ flags: ['--workers', '1'] });
  t.teardown(sallyport.remove);
  const set = run(t, ['--data', sallyport.data, 'credential', 'set', 'openai']);
  let stderr = '';
  set.stderr?.on('data', (chunk) => {
    stderr += String(chunk);
  });
  // More than lies in between: once it is all written, the command has read the most of it and waits for the rest.
  await new Promise((resolve) => set.stdin?.write(Buffer.alloc(250_000, 'half a secret'), resolve));
  const pid = set.pid ?? -1;
  hardened(t, pid, 'the command');
  set.kill('SIGUSR1');
  await delay(300);
  set.stdin?.end();
  t.same(await once(set, 'close'), [1, null], 'it goes on, as if there had been none');
  t.match(stderr, /^sallyport: [^\n]+ \[invalid_credential\]\n$/, 'and no debugger listened');
});

t.test('a PIN that is used by a command', async (t) => {
  const hsm = makeSoftHsm('hardened');
  const shim = makeShim();
  t.teardown(() => {
    hsm.remove();
    shim.remove();
  });
  runProvision(hsm, { args: ['--create', '--empty'] });
  useHere(hsm);
  const env = { SOFTHSM2_CONF: process.env.SOFTHSM2_CONF ?? '' };
  const token = ['--pkcs11-module', shim.module, '--pkcs11-token', hsm.label, '--pin-file', hsm.pinFile];
  const data = join(hsm.folder, 'data');
  for (const [program, args] of [
    ['check', ['hsm', 'check', ...token]],
    ['provision', ['--data', data, 'init', ...token]],
  ] as const) {
    shim.calls();
    shim.control('delay C_Login 60000');
    const command = run(t, args, env);
    await until('it logs in', 20_000, () => shim.calls().includes('C_Login'));
    const worker = descendants(command.pid ?? -1).find(({ command }) =>
      command.includes(`keyholder/${program}`),
    );
    if (!worker) throw new Error(`no ${program} runs`);
    hardened(t, command.pid ?? -1, args.join(' '));
    hardened(t, worker.pid, `${program}, which has the PIN,`);
    process.kill(worker.pid, 'SIGKILL');
    await once(command, 'exit');
    t.notOk(isAlive(worker.pid));
  }
});

t.test('where cores cannot be switched off, no secret is taken', async (t) => {
  const refused = await cli(['init', '--data', '/nonexistent/data'], { env: { PATH: '/nonexistent' } });
  t.match(refused, { code: 1, stderr: /^sallyport: [^\n]*install prlimit[^\n]*\n$/ });
  t.match(await cli(['--version'], { env: { PATH: '/nonexistent' } }), { code: 0 });
});
