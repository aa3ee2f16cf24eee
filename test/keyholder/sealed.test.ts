import { createECDH, randomBytes, verify } from 'node:crypto';
import t from 'tap';
import { KeyholderInfo, Provisioned } from '../../src/channel/messages/keyholder.ts';
import { publicKeyOf } from '../../src/keyholder/point.ts';
import { makeShim } from '../support/pkcs11-shim.ts';
import { makeSoftHsm, runProvision, startKeyholder } from '../support/softhsm.ts';
import { ask, bytesOf, codeOf } from './ask.ts';

t.setTimeout(120_000);
const aad = Buffer.from('aad');
const message = Buffer.from('message');
const NO_HMAC = 'hide 0x251';
const NO_ECDH = 'hide 0x1050';
const NO_RSA = 'hide 0x9';
const NO_AES = 'hide 0x1080';

/** What a token lacks, the keys that are sealed then, and the profile. */
const TOKENS: readonly (readonly [what: string, readonly string[], readonly string[], profile: string])[] = [
  [
    'no HMAC, as a Nitrokey HSM',
    [NO_HMAC, NO_AES, NO_RSA],
    ['sallyport-bind-1', 'sallyport-mac'],
    'ecdh-hpke',
  ],
  [
    'neither HMAC nor ECDH, as a TPM',
    [NO_HMAC, NO_AES, NO_ECDH, 'emulate oaep-sha256'],
    ['sallyport-bind-1', 'sallyport-mac', 'sallyport-intake'],
    'rsa-oaep-sha256',
  ],
  ['no ECDH without a KDF, as AWS CloudHSM', ['fail C_DeriveKey 0x71'], ['sallyport-intake'], 'aes-gcm'],
];

for (const [what, directives, sealed, profile] of TOKENS) {
  t.test(`${what}: those keys are sealed to a pair of the token, and all verbs work`, async (t) => {
    const shim = makeShim();
    const hsm = { ...makeSoftHsm('sealed'), module: shim.module };
    shim.control(...directives);
    const info = KeyholderInfo.strip().parse(runProvision(hsm).output);
    let keyholder = await startKeyholder(hsm);
    t.teardown(async () => {
      await keyholder.stop();
      hsm.remove();
      shim.remove();
    });
    t.equal(info.profile, profile);
    for (const { label, type, extractable, sensitive } of info.keys) {
      const isSealed = sealed.includes(label);
      t.match({ type, extractable, sensitive }, { extractable: isSealed, sensitive: !isSealed }, label);
      t.equal(/sealed to sallyport-seal$/.test(type), isSealed, `${label}: ${type}`);
    }

    const dek = randomBytes(32);
    const wrapped = await bytesOf(keyholder, { verb: 'wrap' }, [dek, aad]);
    const mac = await bytesOf(keyholder, { verb: 'mac' }, [message]);
    await keyholder.stop();
    keyholder = await startKeyholder(hsm);
    t.same((await ask(keyholder, { verb: 'info' })).header, info);
    t.ok((await bytesOf(keyholder, { verb: 'mac' }, [message])).equals(mac), 'the same key after a restart');
    t.equal((await ask(keyholder, { verb: 'mac' }, [message, aad, message])).parts.length, 3);
    t.ok((await bytesOf(keyholder, { verb: 'unwrap', kek: info.kek }, [wrapped, aad])).equals(dek));
    const other = ask(keyholder, { verb: 'unwrap', kek: info.kek }, [wrapped, message]);
    t.equal(await codeOf(other), 'hsm_refused');

    const sender = createECDH('prime256v1');
    const shared = await bytesOf(keyholder, { verb: 'agree' }, [sender.generateKeys()]);
    t.ok(shared.equals(sender.computeSecret(Buffer.from(info.intakePublicKey, 'hex'))));
    t.equal(await codeOf(ask(keyholder, { verb: 'agree' }, [Buffer.alloc(65, 4)])), 'hsm_refused');
    const signature = await bytesOf(keyholder, { verb: 'sign' }, [message]);
    const key = publicKeyOf(Buffer.from(info.auditPublicKey, 'hex'));
    t.ok(verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature));
    await ask(keyholder, { verb: 'anchor.write' }, [aad]);

    await ask(keyholder, { verb: 'rotate', from: info.kek });
    const again = await bytesOf(keyholder, { verb: 'wrap' }, [dek, aad]);
    t.ok((await bytesOf(keyholder, { verb: 'unwrap', kek: 'sallyport-kek-2' }, [again, aad])).equals(dek));
    t.ok((await bytesOf(keyholder, { verb: 'unwrap', kek: info.kek }, [wrapped, aad])).equals(dek));
    await ask(keyholder, { verb: 'retire', kek: info.kek });
    const { keys } = KeyholderInfo.parse((await ask(keyholder, { verb: 'info' })).header);
    t.notOk(
      keys.some(({ label }) => label.endsWith('-1')),
      'nothing of the old KEK is left',
    );
  });
}

t.test('a token that fails for a moment is not taken for one that cannot hold a key', async (t) => {
  const shim = makeShim();
  const hsm = { ...makeSoftHsm('moment'), module: shim.module };
  t.teardown(() => {
    hsm.remove();
    shim.remove();
  });
  runProvision(hsm, { args: ['--create', '--empty'] });
  for (const directive of ['fail C_SignInit 0x30', 'fail C_DeriveKey 0x6', 'fail C_EncryptInit 0x30']) {
    shim.control(directive);
    const { output } = runProvision(hsm, { args: [] });
    t.match(output, { error: { code: 'hsm_unavailable' } }, directive);
  }
  shim.control();
  const { keys, profile } = Provisioned.parse(runProvision(hsm, { args: [] }).output);
  t.equal(profile, 'aes-gcm');
  t.equal(keys.length, 4, 'none is sealed, nothing was left');
});
