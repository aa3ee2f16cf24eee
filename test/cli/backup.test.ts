import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { decodeHead, signedHead } from '../../src/backup/format.ts';
import { AgentTunnel } from '../support/agent.ts';
import { cli } from '../support/sallyport.ts';
import { startScene } from '../support/scene.ts';
import { softHsmModule } from '../support/softhsm.ts';
import { valuesOf } from '../support/upstream.ts';

t.setTimeout(180_000);
const PASSPHRASE = 'correct horse battery staple';
const scene = await startScene({ flags: ['--workers', '1'] });
let { sallyport } = scene;
t.teardown(scene.remove);
t.teardown(() => sallyport.stop());
const { data, pinFile } = sallyport;
const folder = join(data, '..');
const bot = await scene.addAgent('bot');
await scene.setCredential('bearer', 'value-of-before', { agents: ['bot'] });
const plain = join(folder, 'plain.backup');
const full = join(folder, 'full.backup');
const passphraseFile = join(folder, 'passphrase');
let auditKey = '';

t.test('a backup is made while everything runs, and says what is in it', async (t) => {
  const made = await sallyport.json(['backup', 'create', plain]);
  t.match(made, {
    file: plain,
    holds: { agents: 1, credentials: 1, grants: 1 },
    token: false,
    trusted: true,
  });
  auditKey = /"auditPublicKey":"(\w+)"/.exec(JSON.stringify(made))?.[1] ?? '';
  await sallyport.cli(['backup', 'create', full, '--with-token'], { stdin: `${PASSPHRASE}\n` });
  t.equal(statSync(full).mode & 0o777, 0o600);
  t.match(await sallyport.json(['backup', 'verify', full]), { token: true, trusted: true });
  t.match(await sallyport.failure(['backup', 'create', plain]), /^1 [^\n]+ \[already_exists\]\n$/);
  const short = join(folder, 'short.backup');
  t.match(
    await sallyport.failure(['backup', 'create', short, '--with-token'], { stdin: 'too short' }),
    /at least 12 characters[^\n]+\[invalid_argument\]\n$/,
  );
  t.notOk(existsSync(short));
  t.notOk(existsSync(join(data, 'vault', 'sallyport.db.backup')), 'no copy stays behind');
});

t.test(
  "no backup is made with a PIN that is not the token's: on a copy, so that it costs no try",
  async (t) => {
    const wrong = join(folder, 'wrong.pin');
    writeFileSync(wrong, 'a PIN of another token');
    const create = [
      'backup',
      'create',
      join(folder, 'worthless.backup'),
      '--with-token',
      '--pin-file',
      wrong,
    ];
    t.match(
      await sallyport.failure(create, { stdin: PASSPHRASE }),
      /^3 sallyport: The PIN in \S+ is not the token's[^\n]+ \[hsm_pin_wrong\]\n$/,
    );
    t.same(
      readdirSync(folder).filter((name) => name.startsWith('worthless')),
      [],
    );
    t.match(await sallyport.json(['hsm', 'status']), { state: 'ok' });
  },
);

t.test('the passphrase has the token opened and tried', async (t) => {
  t.match(await sallyport.json(['backup', 'verify', full]), { tokenChecked: null });
  writeFileSync(passphraseFile, PASSPHRASE);
  const verify = ['backup', 'verify', '--passphrase-file', passphraseFile];
  t.match(await sallyport.json([...verify, full]), { tokenChecked: 'proven' });
  t.match(
    (await sallyport.cli([...verify, full])).stdout,
    /^token +opens with the passphrase, and has the PIN/m,
  );
  t.match(await sallyport.failure([...verify, plain]), /holds no token[^\n]+\[invalid_argument\]\n$/);
  writeFileSync(passphraseFile, 'another passphrase');
  t.match(await sallyport.failure([...verify, full]), /does not open[^\n]+\[backup_invalid\]\n$/);
});

t.test('its head is written as the format says', async (t) => {
  for (const file of [plain, full]) {
    const bytes = readFileSync(file);
    const { manifest } = decodeHead(bytes);
    const signed = signedHead(manifest); // read in the order of the format
    t.ok(bytes.subarray(0, signed.length).equals(signed));
  }
});

t.test('neither credential nor PIN is in it to be read', async (t) => {
  for (const file of [plain, full]) {
    const bytes = readFileSync(file);
    t.notOk(bytes.includes('value-of-before'));
    t.notOk(bytes.includes(readFileSync(pinFile, 'latin1').trim()));
  }
});

t.test('one bit that was changed, or a byte that is missing, is noticed', async (t) => {
  const bytes = readFileSync(full);
  const altered = join(folder, 'altered.backup');
  const places = [
    3,
    200,
    bytes.indexOf(0x0a, 30) + 5,
    bytes.indexOf('SQLite format 3') + 2_000,
    bytes.length - 3,
  ];
  for (const place of places) {
    const copy = Buffer.from(bytes);
    copy.writeUInt8(copy.readUInt8(place) ^ 1, place);
    writeFileSync(altered, copy);
    const { code, stderr } = await cli(['--data', data, 'backup', 'verify', altered]);
    t.match(`${code} ${stderr}`, /^1 sallyport: [^\n]+ \[backup_invalid\]\n$/, `at ${place}`);
  }
  writeFileSync(altered, bytes.subarray(0, -1));
  t.match(await sallyport.failure(['backup', 'verify', altered]), /^1 [^\n]+ \[backup_invalid\]\n$/);
  const other = `04${'0'.repeat(128)}`;
  t.match(await sallyport.failure(['backup', 'verify', full, '--audit-key', other]), /\[backup_invalid\]\n$/);
  const elsewhere = await cli(['--data', join(folder, 'none'), '--json', 'backup', 'verify', full]);
  t.match(elsewhere.json(), { trusted: false });
});

t.test('put back into a stopped folder, it is refused until it is accepted', async (t) => {
  await scene.setCredential('bearer', 'value-of-after');
  t.match(await sallyport.failure(['backup', 'restore', plain]), /^1 [^\n]+ \[already_running\]\n$/);
  await sallyport.stop();
  const restore = ['backup', 'restore'];
  for (const [args, code] of [
    [[full, '--audit-key', '04ff'], 'backup_invalid'],
    [[full, '--passphrase-file', passphraseFile], 'backup_invalid'], // with another passphrase
    [[plain, '--passphrase-file', passphraseFile], 'invalid_argument'],
    [[plain, '--pin-file', pinFile], 'invalid_argument'],
    [[plain, '--pkcs11-token', 'sallyport'], 'invalid_argument'],
  ] as const)
    t.match(
      await sallyport.failure([...restore, ...args]),
      new RegExp(`^1 [^\\n]+\\[${code}\\]\\n$`),
      args.join(' '),
    );
  const database = join(data, 'vault', 'sallyport.db');
  const before = readFileSync(database);
  const [audit, passphrase] = [
    ['--audit-key', auditKey],
    ['--passphrase-file', passphraseFile],
  ];
  writeFileSync(passphraseFile, PASSPHRASE);
  t.match(await sallyport.json([...restore, full, ...audit, ...passphrase]), { token: false, trusted: true });
  const kept = `${database}.before-`;
  const [name = ''] = readdirSync(join(data, 'vault')).filter((each) =>
    join(data, 'vault', each).startsWith(kept),
  );
  t.ok(readFileSync(join(data, 'vault', name)).equals(before), 'what was there is kept');
  t.match(
    (await sallyport.cli([...restore, plain])).stdout,
    new RegExp(`^kept +${kept}\\d+T\\d+Z: what was there before$`, 'm'),
  );
  sallyport = await sallyport.restart();
  t.match(await sallyport.failure(['grant', 'remove', 'bot', 'bearer']), /\[integrity_failed\]\n$/);
  await accept(t);
  await serves(t);
});

t.test('all is lost but the backup and its passphrase', async (t) => {
  await sallyport.stop();
  for (const gone of [data, pinFile]) rmSync(gone, { recursive: true });
  const restore = ['--data', data, 'backup', 'restore'];
  t.match(await cli([...restore, plain, '--audit-key', auditKey]), {
    code: 1,
    stderr: /holds no token.*backup_invalid/,
  });
  t.match(await cli([...restore, full], { stdin: 'another passphrase' }), {
    code: 1,
    stderr: /does not open/,
  });
  t.notOk(
    existsSync(data) || existsSync(`${data}.restoring`) || existsSync(pinFile),
    'nothing is left behind',
  );
  mkdirSync(data);
  writeFileSync(join(data, 'something'), '');
  t.match(await cli([...restore, full], { stdin: PASSPHRASE }), {
    code: 1,
    stderr: /\[data_folder_exists\]/,
  });
  rmSync(join(data, 'something')); // an empty folder, as of a mount, is as good as none
  const restored = await cli([...restore, full], { stdin: PASSPHRASE });
  t.equal(restored.code, 0, restored.stderr);
  t.match(restored.stderr, /^Nothing here but the passphrase says whose backup it is/);
  t.same(readdirSync(data).sort(), ['ca', 'journal', 'sallyport.json', 'token', 'vault']);
  t.equal(statSync(pinFile).mode & 0o777, 0o400);
  sallyport = await sallyport.restart();
  t.match(await sallyport.json(['status']), {
    integrity: { state: 'integrity_failed', failures: [{ reason: /restored from a backup/ }] },
  });
  await accept(t);
  await serves(t);
  await sallyport.stop();
  sallyport = await sallyport.restart();
  await serves(t);
});

t.test('the token is lost, and a copy of it under another configuration takes its place', async (t) => {
  await sallyport.stop();
  const clone = join(folder, 'clone');
  cpSync(join(data, 'token', 'tokens'), join(clone, 'tokens'), { recursive: true });
  const conf = join(clone, 'softhsm2.conf');
  writeFileSync(
    conf,
    `directories.tokendir = ${clone}/tokens\nobjectstore.backend = file\nslots.removable = false\n`,
  );
  rmSync(data, { recursive: true });
  const restore = ['--data', data, '--json', 'backup', 'restore', plain, '--pkcs11-token', 'sallyport'];
  t.match(await cli(restore), { code: 1, stderr: /invalid_argument.+ --audit-key/ });
  const named = [
    ...restore,
    '--audit-key',
    auditKey,
    '--pkcs11-module',
    softHsmModule(),
    '--pin-file',
    pinFile,
  ];
  const restored = await cli(named, { env: { SOFTHSM2_CONF: conf } });
  t.match(restored.json(), { token: false, trusted: true, kept: null });
  sallyport = await sallyport.restart();
  await accept(t);
  await serves(t);
  t.match(JSON.parse(readFileSync(join(data, 'sallyport.json'), 'utf8')), {
    ownToken: false,
    pinFile,
    moduleEnvironment: { SOFTHSM2_CONF: conf },
  });
});

async function accept(t: Test): Promise<void> {
  const checked = await cli(['--data', data, '--json', 'integrity', 'check']);
  const digest = /"head":\{"counter":\d+,"digest":"(\w+)"/.exec(checked.stdout)?.[1] ?? '';
  await sallyport.cli(['integrity', 'accept', '--yes', '--digest', digest]);
  t.match(await sallyport.json(['status']), { integrity: { state: 'ok', failures: [] } });
}

/** The agent's request gets the credential of when the backup was made. */
async function serves(t: Test): Promise<void> {
  scene.upstream.forget();
  const tunnel = await AgentTunnel.open(sallyport.proxy, bot, 'bearer.test');
  t.equal((await tunnel.request('/')).status, 200);
  tunnel.close();
  t.same(valuesOf(scene.upstream.last, 'authorization'), ['Bearer value-of-before']);
}
