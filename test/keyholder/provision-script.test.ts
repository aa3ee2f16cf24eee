import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { existingKeys } from '../../src/keyholder/key-objects.ts';
import { loadModule, openToken } from '../../src/keyholder/token.ts';
import { softHsmModule } from '../support/softhsm.ts';
import { withDescriptor } from './descriptor.ts';

const SCRIPT = fileURLToPath(new URL('../../hsm/provision-softhsm.sh', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'sallyport-provision-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));

function run(...args: string[]) {
  return spawnSync(SCRIPT, args, { encoding: 'utf8' });
}

t.test('it makes an empty token that its PIN opens', async (t) => {
  const folder = join(scratch, 'token');
  const pinFile = join(scratch, 'pin');
  const { status, stdout } = run('--folder', folder, '--pin-file', pinFile);
  t.equal(status, 0);
  const module = softHsmModule();
  t.match(JSON.parse(stdout), { token: 'sallyport', module: /libsofthsm2\.so$/ });
  t.equal(statSync(folder).mode & 0o777, 0o700);
  t.equal(statSync(pinFile).mode & 0o777, 0o400);
  t.match(readFileSync(pinFile, 'utf8'), /^[0-9a-f]{64}$/);
  process.env.SOFTHSM2_CONF = join(folder, 'softhsm2.conf');
  const place = { module, token: 'sallyport', serial: undefined };
  const open = withDescriptor(pinFile, (pin) => openToken(loadModule(module), place, pin));
  t.same(existingKeys(open), []);
  open.close();
  t.match(run('--folder', folder, '--pin-file', pinFile), { status: 1, stderr: /is there already/ });
});

t.test('what fails leaves no folder and no PIN behind', async (t) => {
  const folder = join(scratch, 'failed');
  const pinFile = join(scratch, 'new-pin');
  const short = join(scratch, 'short');
  writeFileSync(short, '1234');
  t.match(run('--folder', folder, '--pin-file', short), { status: 1, stdout: /invalid_argument/ });
  t.ok(existsSync(short), 'a PIN that was there stays');
  const none = join(scratch, 'none.so');
  t.match(run('--folder', folder, '--pin-file', pinFile, '--module', none), {
    status: 1,
    stdout: /none\.so/,
  });
  t.match(run('--folder', folder, '--pin-file', join(folder, 'pin')), {
    status: 1,
    stderr: /beside the token/,
  });
  t.match(run('--folder', folder), { status: 1, stderr: /--pin-file/ });
  t.match(run('--folder'), { status: 1, stderr: /needs a value/ });
  t.match(run('--pin', '1234'), { status: 1, stderr: /there is no --pin/ });
  t.notOk(existsSync(folder));
  t.notOk(existsSync(pinFile));
});
