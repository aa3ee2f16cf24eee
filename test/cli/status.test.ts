import { join } from 'node:path';
import Database from 'better-sqlite3';
import t from 'tap';
import { z } from 'zod';
import { makeShim } from '../support/pkcs11-shim.ts';
import { until } from '../support/processes.ts';
import { cli, startSallyport } from '../support/sallyport.ts';

const Status = z.object({
  hsm: z.object({ state: z.string(), error: z.string().optional() }),
  integrity: z.object({ state: z.string() }),
  processes: z.array(z.object({ kind: z.string(), pid: z.number().min(2) })),
});

t.setTimeout(120_000);
const shim = makeShim();
t.teardown(() => shim.remove());
const sallyport = await startSallyport({
  initFlags: ['--pkcs11-module', shim.module],
  flags: ['--workers', '1'],
});
t.teardown(() => sallyport.remove());
const { data, api } = sallyport;
await sallyport.cli(['agent', 'add', 'bot']);

async function ready(): Promise<[number, unknown]> {
  const response = await fetch(`${api}/readyz`);
  return [response.status, await response.json()];
}

async function readyAs(status: number): Promise<unknown> {
  await until(`readyz answers ${status}`, 8_000, async () => (await ready())[0] === status);
  return (await ready())[1];
}

function status(...flags: string[]) {
  return cli(['--data', data, 'status', '--exit-code', ...flags]);
}

t.test('all is well', async (t) => {
  t.match(await status(), { code: 0, stdout: /^hsm +ok, token sallyport, .*kek sallyport-kek-1/m });
  t.notMatch((await status()).stdout, /hsm error/);
  t.same(await ready(), [200, { status: 'ready', reasons: [] }]);
});

t.test('the HSM cannot be used', async (t) => {
  const well = Status.loose().parse((await status('--json')).json());
  shim.control('empty slots', 'fail C_FindObjectsInit 0x32', 'fail C_SignInit 0x32');
  t.same(await readyAs(503), { status: 'unready', reasons: ['hsm_unavailable'] });
  const { code, stdout } = await status();
  t.equal(code, 2, 'an exit code of its own');
  t.match(stdout, /^hsm +unavailable, token sallyport, .+\nhsm error +The HSM is lost\. .+\.$/m);
  const told = await status('--json');
  t.match(told, { code: 2, stderr: '' });
  const unwell = Status.loose().parse(told.json());
  t.same(Object.keys(unwell), Object.keys(well), 'the document has the same shape');
  t.equal(
    (await cli(['--data', data, 'status'])).code,
    0,
    'unless it is asked for, what can be told is no failure',
  );
  t.equal((await fetch(`${api}/healthz`)).status, 200, 'it lives');
  shim.control();
  t.same(await readyAs(200), { status: 'ready', reasons: [] });
  t.equal((await status()).code, 0);
});

t.test('a keyholder hangs', async (t) => {
  const { processes } = Status.parse((await status('--json')).json());
  const { pid } = processes.find(({ kind }) => kind === 'keyholder') ?? {};
  if (pid === undefined) throw new Error('there is no keyholder');
  process.kill(pid, 'SIGSTOP');
  t.teardown(() => process.kill(pid, 'SIGCONT'));
  const { code, stdout } = await cli(['--data', data, 'hsm', 'status']);
  t.equal(code, 1);
  t.match(stdout, /has not answered for 1 s: a call to its HSM takes long, or hangs/);
  t.notMatch(stdout, /other process/);
  t.same(await readyAs(503), { status: 'unready', reasons: ['hsm_unavailable'] });
  process.kill(pid, 'SIGCONT');
  t.same(await readyAs(200), { status: 'ready', reasons: [] });
});

t.test('somebody has written to the database', async (t) => {
  const database = new Database(join(data, 'vault', 'sallyport.db'));
  database.exec("update agents set name = 'other'");
  database.close();
  t.same(await readyAs(503), { status: 'unready', reasons: ['integrity_failed'] });
  t.match(await status(), { code: 2, stdout: /^integrity +integrity_failed/m });
  t.match(await status('--json'), { code: 2 });
});
