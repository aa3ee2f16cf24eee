import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const MODULE = fileURLToPath(new URL('../../src/supervisor/descriptors.ts', import.meta.url));
const PROGRAM = `
  import { readFileSync } from 'node:fs';
  const { raiseDescriptorLimit } = await import(${JSON.stringify(MODULE)});
  const told = raiseDescriptorLimit() ?? '';
  const [, soft, hard] = /^Max open files\\s+(\\S+)\\s+(\\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1'));
  console.log(JSON.stringify({ told, soft, hard }));
`;

/** Runs it where so many descriptors are allowed; `without` the privilege to allow more. */
function run(limit: number, without: boolean): { told: string; soft: string; hard: string } {
  const drop = ['setpriv', '--inh-caps=-sys_resource', '--bounding-set=-sys_resource'];
  const command = [
    ...(without && process.getuid?.() === 0 ? drop : []),
    ...['prlimit', `--nofile=${limit}:${limit}`],
    ...[process.execPath, '--input-type=module', '--eval', PROGRAM],
  ];
  const [file = '', ...args] = command;
  const { stdout, stderr } = spawnSync(file, args, { encoding: 'utf8', env: { PATH: process.env.PATH } });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

t.test('too few descriptors are told of, with what to do', async (t) => {
  const { told, hard } = run(1_000, true);
  t.match(told, /^each process may open only 1000 descriptors, .* LimitNOFILE=/);
  t.notMatch(told, /\n/);
  t.equal(hard, '1000');
});

t.test('enough are left as they are', async (t) => {
  t.same(run(16_384, true), { told: '', soft: '16384', hard: '16384' });
});

const probe = spawnSync('prlimit', ['--nofile=1000:1000', 'prlimit', '--nofile=2000:2000', 'true']);
const skip = probe.status !== 0 && 'this user may not';
t.test('who may raises them', { skip }, async (t) => {
  t.same(run(1_000, false), { told: '', soft: '16384', hard: '16384' });
});
