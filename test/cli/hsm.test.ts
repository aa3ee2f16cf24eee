import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { HsmReport } from '../../src/channel/messages/hsm-report.ts';
import { makeShim } from '../support/pkcs11-shim.ts';
import { cli, startSallyport } from '../support/sallyport.ts';
import { makeSoftHsm, runProvision, useHere } from '../support/softhsm.ts';

t.setTimeout(120_000);
/** RSA keys take a second to make. */
const NO_RSA = 'hide 0';
const shim = makeShim();
t.teardown(() => shim.remove());

t.test('check tries a token, explains its choice, and leaves nothing in it', async (t) => {
  const hsm = makeSoftHsm('checked');
  t.teardown(() => hsm.remove());
  runProvision(hsm, { args: ['--create', '--empty'] });
  useHere(hsm);
  const env = { SOFTHSM2_CONF: process.env.SOFTHSM2_CONF ?? '' };
  const check = (...more: string[]) =>
    cli(['hsm', 'check', '--pkcs11-module', shim.module, ...more], { env });
  const tried = ['--pkcs11-token', hsm.label, '--pin-file', hsm.pinFile];
  const objects = () =>
    readdirSync(hsm.tokens, { encoding: 'utf8', recursive: true }).filter((name) => name.endsWith('.object'));
  const before = objects();

  const { tokens } = HsmReport.parse((await check(...tried, '--json')).json());
  const [token] = tokens;
  t.match(token, { chosen: 'aes-gcm', software: true, untried: null, label: hsm.label });
  for (const need of token?.needs ?? []) t.match(need, { verdict: 'works', p50: Number }, need.what);
  const rated = new Map(token?.profiles.map(({ name, ...rest }) => [name, rest]));
  t.match(rated.get('aes-gcm'), { verdict: 'works', wrapP50: Number, unwrapP50: Number });
  t.match(rated.get('aes-gcm-hsm-iv'), { verdict: 'fails', reason: /no IV of its own/, wrapP50: null });
  t.match(rated.get('aes-ccm'), { verdict: 'missing', reason: /CKM_AES_CCM/ });
  shim.control(NO_RSA);
  const text = await check(...tried);
  t.match(text, { code: 0, stdout: /aes-gcm is the first .* that works.*not the protection of hardware/s });

  const listed = await check();
  t.match(listed, { code: 0, stdout: /HMAC-SHA-256 +listed.*Not tried: no PIN was given/s });
  shim.control('emulate yubihsm');
  const yubihsm = await check(...tried);
  t.match(yubihsm, {
    code: 0,
    stdout: /yubihsm-ccm is the first.*makes no keys that end with their session/s,
  });
  shim.control('hide 0x251', 'hide 0x1050');
  t.match(await check(), { code: 0, stdout: /ECDH +sealed .*encrypted to a pair of the token/s });
  shim.control('hide 0x251', 'hide 0x1050', 'hide 0x9');
  t.match(await check(), { code: 1, stdout: /cannot be used: it lacks HMAC-SHA-256, ECDH\./ });
  shim.control('emulate no-data-objects', NO_RSA);
  t.match(await check(...tried), {
    code: 0,
    stdout: /private data objects +file +- +the token answered CKR_ATTR.*anchored in a file beside it/s,
  });
  shim.control('emulate no-data-objects', NO_RSA, 'hide 0x251');
  t.match(await check(...tried), {
    code: 1,
    stdout: /private data objects +fails .*it lacks private data objects/s,
  });
  shim.control('empty slots');
  t.match(await check(), { code: 1, stdout: /It shows no token/ });
  shim.control();
  t.same(objects(), before, 'nothing is left, whatever failed');

  shim.calls();
  const wrong = join(hsm.folder, 'wrong');
  writeFileSync(wrong, 'x'.repeat(32));
  const refused = await check('--pkcs11-token', hsm.label, '--pin-file', wrong);
  t.match(refused, { code: 3, stderr: /\[hsm_pin_wrong\]/ });
  t.equal(shim.calls().filter((name) => name === 'C_Login').length, 1, 'a wrong PIN is tried once');
  t.match(await check('--pin-file', wrong), { code: 1, stderr: /\[invalid_argument\]/ });
  t.match(await check('--pkcs11-token', 'none'), { code: 1, stderr: /\[hsm_token_missing\]/ });
  shim.control('abort C_GetMechanismList');
  t.match(await check(), { code: 1, stderr: /library crashed \(SIG[A-Z]+\): [^\n]+\[hsm_unavailable\]/ });
});

t.test(
  'status shows the keys as the HSM reports them; the PIN is changed while serve is stopped',
  async (t) => {
    const sallyport = await startSallyport({ flags: ['--workers', '1'] });
    const { data, pinFile } = sallyport;
    t.teardown(() => sallyport.remove());
    t.match(await sallyport.json(['hsm', 'status']), {
      state: 'ok',
      health: { state: 'ok' },
      info: {
        software: true,
        profile: 'aes-gcm',
        keys: [
          {
            label: 'sallyport-kek-1',
            id: '0101',
            sensitive: true,
            extractable: false,
            neverExtractable: true,
          },
        ],
      },
    });
    const { stdout } = await sallyport.cli(['hsm', 'status']);
    t.match(stdout, /^sallyport-kek-1 +0101 +AES-256 +yes +no +yes +yes$/m);
    t.match(stdout, /^keyholder-1-1 +ok \(opened 1×, lost 0×; asked \d+×, failed 0×\)$/m);
    t.match(stdout, /mechanisms .*AES_GCM.*not the protection of hardware/s);

    const pin = (...more: string[]) => cli(['--data', data, 'hsm', 'pin', ...more]);
    t.match(await pin(), { code: 1, stderr: /\[already_running\]/ });
    await sallyport.stop();
    t.match(await cli(['--data', data, 'hsm', 'status']), { code: 1, stderr: /\[vault_not_running\]/ });

    const current = () => readFileSync(pinFile, 'utf8');
    const first = current();
    t.match(await pin(), { code: 0, stderr: '' });
    t.not(current(), first);
    t.equal(statSync(pinFile).mode & 0o777, 0o400);
    t.notOk(existsSync(`${pinFile}.new`));

    const old = `${pinFile}.old`;
    copyFileSync(pinFile, old);
    t.match(await pin(), { code: 0 });
    renameSync(pinFile, `${pinFile}.new`);
    renameSync(old, pinFile);
    t.match(await pin(), { code: 0 }, 'interrupted after the token learnt it: the new PIN is found');
    writeFileSync(`${pinFile}.new.part`, 'torn');
    t.match(await pin(), { code: 0 }, 'interrupted while it was written: made anew');

    const elsewhere = mkdtempSync('/dev/shm/sallyport-pin-');
    t.teardown(() => rmSync(elsewhere, { recursive: true, force: true }));
    t.not(statSync(elsewhere).dev, statSync(pinFile).dev, 'on another filesystem');
    const chosen = join(elsewhere, 'chosen');
    const refused = async (text: string | undefined, why: RegExp, ...more: string[]): Promise<void> => {
      const before = current();
      if (text !== undefined) writeFileSync(chosen, text);
      const code = /hsm_pin_wrong/.test(why.source) ? 3 : 1;
      t.match(await pin('--new-pin-file', chosen, ...more), { code, stdout: '', stderr: why }, why.source);
      t.equal(current(), before, 'nothing was changed');
      t.notOk(existsSync(`${pinFile}.new`), 'and nothing stays');
      t.ok(text === undefined || readFileSync(chosen, 'utf8') === text);
    };
    await refused(undefined, /chosen of --new-pin-file cannot be read \(ENOENT\)[^\n]+\[hsm_pin_missing\]/);
    await refused('', /holds no PIN[^\n]+\[invalid_argument\]/);
    await refused('short', /16 characters[^\n]+\[invalid_argument\]/);
    await refused(`${current()}\n`, /The new PIN is the old one[^\n]+\[invalid_argument\]/);
    const wrong = join(elsewhere, 'wrong');
    writeFileSync(wrong, 'not the PIN of this token');
    await refused('a PIN that somebody has chosen\n', /\[hsm_pin_wrong\]/, '--pin-file', wrong);
    t.notOk(existsSync(`${wrong}.new`));

    writeFileSync(`${pinFile}.new`, 'a PIN of an earlier change\n');
    t.match(await pin('--new-pin-file', chosen), {
      code: 1,
      stderr: /earlier change that did not end[^\n]+\[invalid_argument\]/,
    });
    t.match(await pin(), { code: 0 }, 'the earlier one is ended first');
    t.equal(current(), 'a PIN of an earlier change\n');
    chmodSync(pinFile, 0o644);
    const link = join(elsewhere, 'link');
    symlinkSync(pinFile, link);
    t.match(await pin('--new-pin-file', chosen, '--pin-file', link), { code: 0, stderr: '' });
    t.notOk(existsSync(chosen), 'it was moved');
    t.equal(statSync(pinFile).mode & 0o777, 0o400);
    t.match(await pin('--pin-file', '/nonexistent'), { code: 1, stderr: /\[hsm_pin_missing\]/ });
    t.equal(current(), 'a PIN that somebody has chosen\n');

    const again = await sallyport.restart();
    t.match(await again.json(['hsm', 'status']), { state: 'ok' });
    await again.stop();
  },
);

t.test('a token without data objects is used all the same: the anchor goes to a file', async (t) => {
  const objectless = makeShim();
  t.teardown(() => objectless.remove());
  objectless.control('emulate no-data-objects');
  const sallyport = await startSallyport({ initFlags: ['--pkcs11-module', objectless.module] });
  t.teardown(sallyport.remove);
  const anchor = join(sallyport.data, 'vault', 'anchor');
  await sallyport.cli(['agent', 'add', 'bot']);
  t.equal(statSync(anchor).mode & 0o777, 0o600);
  const older = readFileSync(join(sallyport.data, 'vault', 'sallyport.db'));
  await sallyport.cli(['agent', 'add', 'other']);
  t.match(await sallyport.json(['integrity', 'check']), { state: 'ok' });
  await sallyport.stop();
  for (const end of ['-wal', '-shm'])
    rmSync(join(sallyport.data, 'vault', `sallyport.db${end}`), { force: true });
  writeFileSync(join(sallyport.data, 'vault', 'sallyport.db'), older);
  const again = await sallyport.restart();
  t.teardown(again.stop);
  t.match(
    await again.failure(['integrity', 'check']),
    /is an older one|is not the one that the anchor names|no record/,
  );
});
