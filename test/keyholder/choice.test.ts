import { readdirSync } from 'node:fs';
import t from 'tap';
import { Provisioned } from '../../src/channel/messages/keyholder.ts';
import { createToken } from '../../src/keyholder/create-token.ts';
import { PROFILES, profileNamed } from '../../src/keyholder/profiles/registry.ts';
import { loadModule, type OpenToken, openToken } from '../../src/keyholder/token.ts';
import { chooseProfile, judge } from '../../src/keyholder/trial.ts';
import { makeShim } from '../support/pkcs11-shim.ts';
import { makeSoftHsm, runProvision, type SoftHsm, startKeyholder, useHere } from '../support/softhsm.ts';
import { ask, bytesOf, codeOf } from './ask.ts';
import { withDescriptor } from './descriptor.ts';

t.setTimeout(120_000);
const shim = makeShim();
const hsm = makeSoftHsm('choice');
useHere(hsm);
const module = loadModule(shim.module);
withDescriptor(hsm.pinFile, (pin) => createToken(module, hsm.label, pin));
t.teardown(() => {
  hsm.remove();
  shim.remove();
});

function onToken<T>(directives: readonly string[], use: (token: OpenToken) => T): T {
  shim.control(...directives);
  const place = { module: shim.module, token: hsm.label, serial: undefined };
  const token = withDescriptor(hsm.pinFile, (pin) => openToken(module, place, pin));
  try {
    return use(token);
  } finally {
    token.close();
    shim.control();
  }
}

function objects({ tokens }: SoftHsm): string[] {
  return readdirSync(tokens, { encoding: 'utf8', recursive: true }).filter(
    (name) => name.endsWith('.object') && !name.endsWith('token.object'),
  );
}

const HMAC = { hmac: true, ecdh: true };
const NO_GCM = 'hide 0x1087';
const NO_KWP = 'hide 0x210a';
const NO_RSA = 'hide 0x9';

t.test('the first profile that works on this very token is chosen', async (t) => {
  const choices: [string[], string][] = [
    [[], 'aes-gcm'],
    [['emulate hsm-iv'], 'aes-gcm-hsm-iv'],
    [['emulate cloudhsm'], 'cloudhsm-gcm'],
    [['emulate ignored-aad'], 'aes-kwp'],
    [['emulate constant-iv'], 'aes-kwp'],
    [['garble C_Encrypt'], 'aes-kwp'],
    [['fail C_EncryptInit 0x70'], 'aes-kwp'],
    [[NO_GCM, 'emulate ccm'], 'aes-ccm'],
    [[NO_GCM], 'aes-kwp'],
    [[NO_GCM, 'emulate pkcs7-wrap', 'emulate oaep-sha256'], 'rsa-oaep-sha256'],
    [[NO_GCM, NO_KWP], 'ecdh-hpke'],
    [[NO_GCM, NO_KWP, NO_RSA], 'ecdh-hpke'],
    [['emulate yubihsm'], 'yubihsm-ccm'],
    [['emulate no-session-keys'], 'aes-gcm'],
  ];
  for (const [directives, name] of choices) {
    t.equal(
      onToken(directives, (token) => chooseProfile(token, undefined, HMAC).name),
      name,
      directives.join(),
    );
    t.same(objects(hsm), [], 'nothing of the trial is left');
  }
});

t.test('each profile that cannot be used says why', async (t) => {
  const why = (directives: string[], name: string) =>
    onToken(
      directives,
      (token) => judge(token, profileNamed(name), { stored: false, hmac: true }, () => undefined).verdict,
    );
  t.equal(why([], 'aes-gcm'), 'ok');
  t.match(why([], 'aes-ccm'), /does not list CKM_AES_CCM/);
  t.match(why([NO_KWP], 'aes-kwp'), /does not list CKM_AES_KEY_WRAP_KWP or .*CKM_AES_KEY_WRAP_PAD/);
  t.match(why([], 'aes-gcm-hsm-iv'), /made no IV of its own/);
  t.match(why(['emulate hsm-iv'], 'aes-gcm'), /CKR_MECHANISM_PARAM_INVALID/);
  t.match(why(['emulate ignored-aad'], 'aes-gcm'), /the binding of .* to its context/);
  t.match(why(['emulate constant-iv'], 'aes-gcm-hsm-iv'), /the IVs of/);
  t.match(why(['emulate pkcs7-wrap'], 'aes-kwp'), /48 bytes instead of 40/);
  t.match(why(['short C_Encrypt'], 'aes-gcm'), /47 bytes instead of 48/);
  t.match(why(['short C_Sign'], 'aes-kwp'), /31 bytes instead of 32/);
  t.match(why(['garble C_Decrypt'], 'aes-gcm'), /unwrapping with/);
  t.match(why(['lie extractable'], 'aes-gcm'), /could leave the token/);
  t.match(why([], 'rsa-oaep-sha256'), /CKR_/, 'SoftHSM has OAEP with SHA-1 alone');
  t.match(why(['emulate no-session-keys'], 'aes-gcm'), /CKR_ATTRIBUTE_VALUE_INVALID/);
});

t.test('where none works, every reason is told', async (t) => {
  onToken([NO_GCM, NO_KWP, NO_RSA, 'fail C_SignInit 0x70'], (token) => {
    const attempt = () => chooseProfile(token, undefined, HMAC);
    const names = PROFILES.map(({ name }) => name).join(': .*');
    t.throws(attempt, { code: 'hsm_mechanism_missing', message: new RegExp(names) });
    t.throws(() => chooseProfile(token, profileNamed('aes-ccm'), HMAC), {
      code: 'hsm_mechanism_missing',
      message: /^(?!.*rsa-oaep).*aes-ccm: the token does not list/,
    });
  });
  t.throws(() => profileNamed('rot13'), { code: 'invalid_argument', message: /aes-gcm, / });
  t.same(objects(hsm), []);
});

t.test('a token is provisioned, used and used again in each profile', async (t) => {
  const ways: [string, string[], string[]][] = [
    ['yubihsm-ccm', ['emulate yubihsm'], []],
    ['cloudhsm-gcm', ['emulate cloudhsm'], []],
    ['aes-kwp', [], ['--profile', 'aes-kwp']],
    ['ecdh-hpke', [], ['--profile', 'ecdh-hpke']],
  ];
  const dek = Buffer.alloc(32, 0x5a);
  const aad = Buffer.from('aad');
  await Promise.all(
    ways.map(async ([profile, directives, args], index) => {
      const own = makeShim();
      const made: SoftHsm = { ...makeSoftHsm(`way-${index}`), module: own.module };
      t.teardown(() => {
        made.remove();
        own.remove();
      });
      own.control(...directives);
      const { output } = runProvision(made, { args: ['--create', ...args] });
      const { anchor, ...info } = Provisioned.parse(output);
      t.equal(anchor, 'token');
      t.equal(info.profile, profile);
      t.equal(info.keys[0]?.id, `${Buffer.of(profileNamed(profile).format, 1).toString('hex')}`);
      for (const key of info.keys) t.match(key, { extractable: false, sensitive: true }, key.label);
      const first = await startKeyholder(made);
      const wrapped = await bytesOf(first, { verb: 'wrap' }, [dek, aad]);
      await first.stop();
      const second = await startKeyholder(made);
      t.same((await ask(second, { verb: 'info' })).header, info, `${profile}: the record is on the token`);
      t.ok((await bytesOf(second, { verb: 'unwrap', kek: info.kek }, [wrapped, aad])).equals(dek), profile);
      const other = ask(second, { verb: 'unwrap', kek: info.kek }, [wrapped, Buffer.from('other')]);
      t.equal(await codeOf(other), 'hsm_refused');
      await second.stop();
    }),
  );
});

t.test('a profile that is forced and cannot work makes nothing', async (t) => {
  const made = makeSoftHsm('forced');
  t.teardown(() => made.remove());
  const { status, output } = runProvision(made, { args: ['--create', '--profile', 'aes-ccm'] });
  t.match({ status, output }, { status: 1, output: { error: { code: 'hsm_mechanism_missing' } } });
  t.same(objects(made), []);
  const wrong = runProvision(made, { args: ['--profile', 'rot13'] });
  t.match(wrong, { status: 1, output: { error: { code: 'invalid_argument' } } });
});

t.test('a KEK says who may unwrap with it', async (t) => {
  const made = makeSoftHsm('record');
  t.teardown(() => made.remove());
  const info = Provisioned.parse(runProvision(made).output);
  const keyholder = await startKeyholder(made);
  const wrapped = await bytesOf(keyholder, { verb: 'wrap' }, [Buffer.alloc(32), Buffer.alloc(0)]);
  for (let format = 0; format < 12; format++) {
    wrapped[0] = format;
    const code = await codeOf(ask(keyholder, { verb: 'unwrap', kek: info.kek }, [wrapped, Buffer.alloc(0)]));
    t.equal(code, format === 1 ? undefined : 'hsm_refused', `format ${format}`);
  }
  await keyholder.stop();
});
