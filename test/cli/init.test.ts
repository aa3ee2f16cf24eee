import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BIN, cli, serveFolder } from '../support/sallyport.ts';
import { softHsmModule } from '../support/softhsm.ts';

t.setTimeout(120_000);

function folderFor(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-test-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function mode(path: string): string {
  return (lstatSync(path).mode & 0o777).toString(8);
}

t.test('init makes a private data folder, and a PIN of 160 bits outside it', async (t) => {
  const folder = folderFor(t);
  const data = join(folder, 'deep', 'data');
  const made = await cli(['init', '--data', data, '--json']);
  t.match(made.json(), { data, token: 'sallyport', pinFile: `${data}.pin` });
  t.equal(mode(data), '700');
  t.equal(mode(`${data}.pin`), '400');
  t.match(readFileSync(`${data}.pin`, 'latin1'), /^[0-9a-f]{40}$/);
  t.strictSame(readdirSync(join(folder, 'deep')).sort(), ['data', 'data.pin'], 'nothing temporary is left');
  const noted = readFileSync(join(data, 'sallyport.json'), 'utf8');
  t.notMatch(noted, readFileSync(`${data}.pin`, 'latin1'));
  t.match(JSON.parse(noted), { intakePublicKey: /^04[0-9a-f]{128}$/, auditPublicKey: /^04[0-9a-f]{128}$/ });
  for (const name of ['vault', 'token', 'journal', 'ca']) t.equal(mode(join(data, name)), '700', name);

  const again = await cli(['init', '--data', data]);
  t.match(again, { code: 1, stderr: /^sallyport: [^\n]+is there already[^\n]+ \[data_folder_exists\]\n$/ });
  t.match(readFileSync(join(data, 'sallyport.json'), 'utf8'), noted, 'and nothing was changed');
});

t.test('an init that fails leaves nothing behind', async (t) => {
  const folder = folderFor(t);
  writeFileSync(join(folder, 'file'), 'not a folder');
  writeFileSync(join(folder, 'taken.pin'), '1234');
  writeFileSync(join(folder, 'no-module.so'), 'no library');
  const before = readdirSync(folder).sort();
  const data = join(folder, 'data');
  const cases: [string[], string][] = [
    [['--pkcs11-module', join(folder, 'nowhere.so')], 'hsm_module_missing'],
    [['--pkcs11-module', join(folder, 'no-module.so')], 'hsm_module_missing'],
    [['--pkcs11-token', 'nobody', '--pin-file', join(folder, 'taken.pin')], 'hsm_token_missing'],
    [['--pkcs11-token', 'nobody'], 'hsm_pin_missing'],
    [['--pkcs11-token', 'nobody', '--pin-file', join(folder, 'nowhere')], 'hsm_pin_missing'],
    [['--pkcs11-token', 'nobody', '--pin-fd', '77'], 'hsm_pin_missing'],
    [['--pin-file', join(folder, 'taken.pin')], 'already_exists'],
    [['--pin-file', join(data, 'pin')], 'invalid_argument'],
    [['--pin-fd', '0'], 'invalid_argument'],
  ];
  for (const [flags, code] of cases) {
    const result = await cli(['init', '--data', data, ...flags]);
    t.equal(result.code, 1, flags.join(' '));
    t.match(result.stderr, new RegExp(`^sallyport: [^\\n]+ \\[${code}\\]\\n$`), flags.join(' '));
    t.strictSame(readdirSync(folder).sort(), before, flags.join(' '));
  }
  const inFile = await cli(['init', '--data', join(folder, 'file', 'data')]);
  t.match(inFile, { code: 1, stderr: /^sallyport: [^\n]+cannot be created[^\n]+\n$/ });
  t.equal(readFileSync(join(folder, 'taken.pin'), 'utf8'), '1234');
});

t.test('a token that is there can be used, with its PIN from a file or a descriptor', async (t) => {
  const folder = folderFor(t);
  const conf = join(folder, 'softhsm2.conf');
  mkdirSync(join(folder, 'tokens'));
  writeFileSync(conf, `directories.tokendir = ${join(folder, 'tokens')}\nobjectstore.backend = file\n`);
  for (const label of ['first', 'second']) {
    const made = spawnSync(
      'softhsm2-util',
      ['--init-token', '--free', '--label', label, '--so-pin', '5678', '--pin', '123456'],
      {
        env: { ...process.env, SOFTHSM2_CONF: conf },
      },
    );
    t.equal(made.status, 0, String(made.stderr));
  }
  const env = { SOFTHSM2_CONF: conf };
  writeFileSync(join(folder, 'pin'), '123456', { mode: 0o400 });
  writeFileSync(join(folder, 'wrong'), '654321');

  const wrong = await cli(
    ['init', '--data', join(folder, 'a'), '--pkcs11-token', 'first', '--pin-file', join(folder, 'wrong')],
    { env },
  );
  t.match(wrong, { code: 3, stderr: /^sallyport: [^\n]+ \[hsm_pin_wrong\]\n$/ });
  t.notOk(existsSync(join(folder, 'a')));

  const made = await cli(
    [
      'init',
      '--json',
      '--data',
      join(folder, 'a'),
      '--pkcs11-token',
      'first',
      '--pin-file',
      join(folder, 'pin'),
    ],
    { env },
  );
  t.match(made.json(), { token: 'first', pinFile: join(folder, 'pin') }, made.stderr);
  t.match(JSON.parse(readFileSync(join(folder, 'a', 'sallyport.json'), 'utf8')), {
    ownToken: false,
    moduleEnvironment: { SOFTHSM2_CONF: conf },
  });

  const data = join(folder, 'b');
  const child = spawn(
    process.execPath,
    [BIN, 'init', '--data', data, '--pkcs11-token', 'second', '--pin-fd', '3'],
    {
      env: { PATH: process.env.PATH ?? '', ...env },
      stdio: ['ignore', 'ignore', 'ignore', openSync(join(folder, 'pin'), 'r')],
    },
  );
  t.equal(await new Promise((resolve) => child.once('exit', resolve)), 0);
  t.match(JSON.parse(readFileSync(join(data, 'sallyport.json'), 'utf8')), {
    pkcs11Token: 'second',
    pinFile: null,
  });
});

t.test('of two tokens with one label the serial number says which', async (t) => {
  const folder = folderFor(t);
  const conf = join(folder, 'softhsm2.conf');
  mkdirSync(join(folder, 'tokens'));
  writeFileSync(conf, `directories.tokendir = ${join(folder, 'tokens')}\nobjectstore.backend = file\n`);
  writeFileSync(join(folder, 'pin'), '123456', { mode: 0o400 });
  const env = { SOFTHSM2_CONF: conf };
  for (let made = 0; made < 2; made++) {
    const flags = ['--init-token', '--free', '--label', 'twin', '--so-pin', '5678', '--pin', '123456'];
    const { status, stderr } = spawnSync('softhsm2-util', flags, { env: { ...process.env, ...env } });
    t.equal(status, 0, String(stderr));
  }
  const checked = (await cli(['--json', 'hsm', 'check', '--pkcs11-module', softHsmModule()], { env })).json();
  const [, second]: { serial: string }[] = Object(checked).tokens;
  if (!second) throw new Error(JSON.stringify(checked));
  const data = join(folder, 'data');
  const init = ['init', '--data', data, '--pkcs11-token', 'twin', '--pin-file', join(folder, 'pin')];
  t.match(await cli(init, { env }), { code: 1, stderr: /Two tokens carry the label twin[^\n]+\n$/ });
  t.match(await cli([...init, '--pkcs11-serial', second.serial], { env }), { code: 0 });
  t.match(JSON.parse(readFileSync(join(data, 'sallyport.json'), 'utf8')), { pkcs11Serial: second.serial });
  const serving = await serveFolder(data, join(folder, 'pin'), { flags: ['--workers', '1'], env });
  t.match(await serving.json(['hsm', 'status']), { state: 'ok', info: { serial: second.serial } });
  await serving.remove();
  const alone = await cli(['init', '--data', join(folder, 'other'), '--pkcs11-serial', second.serial], {
    env,
  });
  t.match(alone, { code: 1, stderr: /--pkcs11-token[^\n]+\[invalid_argument\]\n$/ });
});
