import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { CapturedWorker, copyProgram } from '../support/captured-worker.ts';
import { isAlive } from '../support/processes.ts';
import { startSallyport } from '../support/sallyport.ts';
import { asks } from './captured-asks.ts';
import { files, identity, memory, processes, sockets, type Target } from './isolation-attempts.ts';

/*
 * From inside a worker: the program that the real supervisor starts in a worker's place runs whatever an attacker
 * could think of. Each attempt must fail, and each process must be as well afterwards as before.
 */
t.setTimeout(180_000);
const ROOT = process.getuid?.() === 0;
/** Where root runs this, somebody without any right runs what needs none. */
const NOBODY = 60_899;
const SOURCE = fileURLToPath(new URL('attack.c', import.meta.url));

const program = copyProgram();
t.teardown(() => rmSync(program, { recursive: true, force: true }));
const attack = join(program, 'src', 'attack');
execFileSync('cc', ['-O1', '-o', attack, SOURCE]);
chmodSync(attack, 0o755);

interface Status {
  readonly isolation: string;
  readonly processes: readonly Target[];
}

for (const { isolation, uid } of [
  { isolation: 'uid', uid: undefined },
  { isolation: 'bubblewrap', uid: ROOT ? NOBODY : undefined },
  ...(ROOT ? [{ isolation: 'bubblewrap', uid: undefined }] : []),
]) {
  const impossible =
    (isolation === 'uid' && !ROOT && 'only root can') ||
    (isolation === 'bubblewrap' && !bubblewrapWorks(uid) && 'bwrap cannot here');
  const by = isolation === 'bubblewrap' && ROOT ? `, by ${uid === undefined ? 'root' : 'nobody'}` : '';
  t.test(`isolated by ${isolation}${by}`, { skip: impossible }, async (t) => {
    const worker = await CapturedWorker.prepare(program);
    t.teardown(() => worker.remove());
    const sallyport = await startSallyport({
      flags: ['--workers', '2', '--isolation', isolation],
      bin: worker.bin,
      ...(uid !== undefined && { uid }),
    });
    t.teardown(sallyport.remove);
    const status = Object(await sallyport.json(['status'])) as Status;
    t.equal(status.isolation, isolation);
    const own = await worker.run(() => process.pid);
    // Where it has pids of its own it cannot say which one it is: then both workers are others.
    const others = status.processes.filter(({ pid }) => !('value' in own) || pid !== own.value);
    const kinds = isolation === 'bubblewrap' ? ['worker', 'worker'] : ['worker'];
    t.same(others.map(({ kind }) => kind).sort(), ['keyholder', 'supervisor', 'vault', ...kinds]);

    await t.test('what it is', (t) => identity(t, worker, isolation));
    await t.test('files', (t) => files(t, worker, sallyport, others));
    await t.test('sockets', (t) => sockets(t, worker, sallyport));
    await t.test('processes', (t) => processes(t, worker, others, isolation));
    await t.test('memory', (t) => memory(t, worker, attack, others));
    await t.test('what it asks of the vault', (t) => asks(t, worker, sallyport));

    await t.test('everything is as it was', async (t) => {
      for (const { pid, name } of others) t.ok(isAlive(pid), name);
      const after = Object(await sallyport.json(['status'])) as Status;
      t.same(after.processes, status.processes, 'no process had to be started again');
      t.equal(sallyport.stderr(), '');
      t.match(await sallyport.json(['agent', 'add', 'still-works']), { name: 'still-works' });
    });
  });
}

t.test('with nothing but an unreadable copy of node, no memory is within reach', async (t) => {
  const worker = await CapturedWorker.prepare(program);
  t.teardown(() => worker.remove());
  const sallyport = await startSallyport({
    flags: ['--workers', '2', '--isolation', 'copy'],
    bin: worker.bin,
    ...(ROOT && { uid: NOBODY }),
  });
  t.teardown(sallyport.remove);
  const { processes: all } = Object(await sallyport.json(['status'])) as Status;
  const own = await worker.run(() => process.pid);
  // The supervisor holds no secret, and is no process of the copy.
  const others = all.filter(({ pid, kind }) => kind !== 'supervisor' && 'value' in own && pid !== own.value);
  t.same(others.map(({ kind }) => kind).sort(), ['keyholder', 'vault', 'worker']);
  await memory(t, worker, attack, others);
});

function bubblewrapWorks(uid: number | undefined): boolean {
  const options = uid === undefined ? {} : { uid, gid: uid };
  const flags = ['--unshare-user', '--unshare-pid', '--ro-bind', '/', '/', '--', 'true'];
  return spawnSync('bwrap', flags, { ...options, cwd: '/', stdio: 'ignore' }).status === 0;
}
