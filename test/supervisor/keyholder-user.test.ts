import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { z } from 'zod';
import { cli, type Sallyport, serveFolder, startSallyport } from '../support/sallyport.ts';
import { softHsmModule } from '../support/softhsm.ts';

/*
 * Where root starts serve on a token that was given to init, the vendor's library runs as the user that the operator
 * names, with that user's groups; else as root, which is told.
 */
t.setTimeout(120_000);
const ROOT = process.getuid?.() === 0;
const skip = !ROOT && 'only root can start processes as other users';
const Status = z.object({
  processes: z.array(z.object({ kind: z.string(), pid: z.number(), uid: z.number() })),
});
const WARNING = /^sallyport: the keyholder runs as root, [^\n]+--keyholder-user[^\n]+\n$/;

/** A user that every system has, of those with most groups: root's own do not count. */
function anybody(): { name: string; uid: number; gid: number; groups: number[] } {
  const numbers = (what: string, name: string): number[] =>
    spawnSync('id', [what, name], { encoding: 'utf8' }).stdout.trim().split(' ').map(Number);
  const members = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .flatMap((line) => line.split(':')[3]?.split(',') ?? []);
  const known = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':')[0] ?? '');
  const name = known.find((each) => each !== '' && each !== 'root' && members.includes(each)) ?? 'nobody';
  const [uid = -1] = numbers('-u', name);
  const [gid = -1] = numbers('-g', name);
  return { name, uid, gid, groups: numbers('-G', name).sort((a, b) => a - b) };
}

async function keyholderOf(sallyport: Sallyport): Promise<{ uid: number; about: string }> {
  const { processes } = Status.parse(await sallyport.json(['status']));
  const keyholder = processes.find(({ kind }) => kind === 'keyholder');
  if (!keyholder) throw new Error('no keyholder');
  return { uid: keyholder.uid, about: readFileSync(`/proc/${keyholder.pid}/status`, 'latin1') };
}

t.test('a token that was given to init', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-given-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  const tokens = join(folder, 'tokens');
  mkdirSync(tokens);
  const conf = join(folder, 'softhsm2.conf');
  writeFileSync(conf, `directories.tokendir = ${tokens}\nobjectstore.backend = file\n`);
  const env = { SOFTHSM2_CONF: conf };
  const made = ['--init-token', '--free', '--label', 'given', '--so-pin', '5678', '--pin', '12345678'];
  t.equal(spawnSync('softhsm2-util', made, { env: { ...process.env, ...env } }).status, 0);
  const pin = join(folder, 'pin');
  writeFileSync(pin, '12345678', { mode: 0o400 });
  const data = join(folder, 'data');
  const token = ['--pkcs11-module', softHsmModule(), '--pkcs11-token', 'given', '--pin-file', pin];
  t.match(await cli(['init', '--data', data, ...token], { env }), { code: 0 });
  const user = anybody();
  const give = (uid: number, gid: number): void => {
    for (const name of ['', ...readdirSync(tokens, { recursive: true, encoding: 'utf8' })]) {
      chownSync(join(tokens, name), uid, gid);
    }
  };
  give(user.uid, user.gid);
  const flags = ['--workers', '1'];
  const named = [...flags, '--keyholder-user', user.name];
  const sallyport = await serveFolder(data, pin, { flags: named, env });
  t.teardown(sallyport.remove);
  const { uid, about } = await keyholderOf(sallyport);
  t.equal(uid, user.uid, 'status says so');
  const ids = (of: string): number[] =>
    (new RegExp(`^${of}:\\s*(.*)$`, 'm').exec(about)?.[1] ?? '').trim().split(/\s+/).map(Number);
  t.same(ids('Uid'), Array(4).fill(user.uid), 'and so it is');
  t.same(ids('Gid'), Array(4).fill(user.gid));
  t.same(
    ids('Groups').sort((a, b) => a - b),
    user.groups,
  );
  t.match(about, /^CapBnd:\s0+$/m);
  t.match(await sallyport.json(['hsm', 'status']), { state: 'ok' });
  t.equal(sallyport.stderr(), '');
  await sallyport.stop();

  const config = join(folder, 'config.json');
  writeFileSync(config, JSON.stringify({ keyholderUser: 'no-such-user' }));
  const serve = (...more: string[]) =>
    cli(['serve', '--data', data, '--proxy-listen', '127.0.0.1:0', '--api-listen', '127.0.0.1:0', ...more]);
  t.match(await serve('--config', config), {
    code: 1,
    stderr: /no user no-such-user[^\n]+ \[invalid_settings\]\n$/,
  });
  for (const isolation of ['bubblewrap', 'copy', 'none']) {
    const result = await serve('--keyholder-user', user.name, '--isolation', isolation);
    t.match(result, { code: 1, stderr: /goes with --isolation uid alone[^\n]+ \[invalid_settings\]\n$/ });
  }
  give(0, 0); // as root, yet without root's right to open what is another's
  const root = await serveFolder(data, pin, { flags, env });
  t.teardown(root.remove);
  t.equal((await keyholderOf(root)).uid, 0);
  t.match(root.stderr(), WARNING, 'told once');
});

t.test('a token in the data folder has a user of its own', { skip }, async (t) => {
  const sallyport = await startSallyport({ flags: ['--workers', '1'] });
  t.teardown(sallyport.remove);
  t.equal((await keyholderOf(sallyport)).uid, 60_801);
  t.equal(sallyport.stderr(), '');
  await sallyport.stop();
  const named = [
    'serve',
    '--keyholder-user',
    'nobody',
    '--proxy-listen',
    '127.0.0.1:0',
    '--api-listen',
    '127.0.0.1:0',
  ];
  t.match(await sallyport.failure(named), /^1 [^\n]+has a user of its own[^\n]+ \[invalid_settings\]\n$/);
});
