import { createPublicKey, randomBytes, verify } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import t from 'tap';
import { KeyholderInfo, type KeyType } from '../../src/channel/messages/keyholder.ts';
import { makeCredentialKey, signWithCredentialKey } from '../../src/keyholder/credential-keys.ts';
import { find } from '../../src/keyholder/find.ts';
import { generateEcPair } from '../../src/keyholder/generate.ts';
import { loadModule, openToken, proveKeys } from '../../src/keyholder/token.ts';
import { makeToken, startKeyholder, useHere } from '../support/softhsm.ts';
import { ask, bytesOf, codeOf } from './ask.ts';
import { withDescriptor } from './descriptor.ts';

t.setTimeout(60_000);
const { hsm } = makeToken();
let keyholder = await startKeyholder(hsm);
t.teardown(async () => {
  await keyholder.stop();
  hsm.remove();
});
const newLabel = (): string => `crd_${randomBytes(16).toString('hex')}-1`;
const message = randomBytes(300);
const make = (label: string, type: KeyType) => bytesOf(keyholder, { verb: 'key.make', label, type });
const sign = (label: string) => bytesOf(keyholder, { verb: 'key.sign', label }, [message]);
const verifies = (spki: Buffer, signature: Buffer): boolean => {
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
};

for (const [type, length, reported] of [
  ['rsa-2048', 256, 'RSA-2048'],
  ['rsa-3072', 384, 'RSA-3072'],
  ['p-256', 64, 'EC P-256'],
] as const) {
  t.test(`a ${type} key is made in the token, signs there, and is confined to it`, async (t) => {
    const label = newLabel();
    const spki = await make(label, type);
    const signature = await sign(label);
    t.equal(signature.length, length);
    t.ok(verifies(spki, signature));
    t.same(await bytesOf(keyholder, { verb: 'key.public', label }), spki);
    const { keys } = KeyholderInfo.parse((await ask(keyholder, { verb: 'info' })).header);
    t.match(
      keys.find((key) => key.label === label),
      { type: reported, extractable: false, sensitive: true, neverExtractable: true, local: true },
    );
    await keyholder.stop();
    keyholder = await startKeyholder(hsm);
    t.ok(verifies(spki, await sign(label)), 'also for the next keyholder');
    await ask(keyholder, { verb: 'key.destroy', label });
    await ask(keyholder, { verb: 'key.destroy', label });
    t.equal(await codeOf(sign(label)), 'hsm_key_missing');
    t.equal(await codeOf(ask(keyholder, { verb: 'key.public', label })), 'hsm_key_missing');
  });
}

t.test('made again, it is another key: nobody has had the first one', async (t) => {
  const label = newLabel();
  const first = await make(label, 'p-256');
  const second = await make(label, 'p-256');
  const signature = await sign(label);
  t.notOk(verifies(first, signature));
  t.ok(verifies(second, signature));
  t.same(Object((await ask(keyholder, { verb: 'key.list' })).header).labels, [label]);
});

t.test('no other key is reached by its label', async (t) => {
  const authority = `agt_${randomBytes(16).toString('hex')}-1`;
  await ask(keyholder, { verb: 'authority.make', label: authority });
  for (const label of [
    'sallyport-audit',
    'sallyport-kek-1',
    authority,
    '',
    `${newLabel()}000`,
    ` ${newLabel()}`,
  ]) {
    for (const verb of ['key.public', 'key.destroy'] as const)
      t.equal(await codeOf(ask(keyholder, { verb, label })), 'channel_malformed', `${verb} ${label}`);
    t.equal(await codeOf(make(label, 'p-256')), 'channel_malformed');
    t.equal(await codeOf(ask(keyholder, { verb: 'key.sign', label }, [message])), 'channel_malformed');
  }
  t.equal((await bytesOf(keyholder, { verb: 'sign' }, [message])).length, 64, 'the audit key is still there');
});

t.test('a public half that somebody has put in the place of the own one is not shown', async (t) => {
  const label = newLabel();
  const spki = await make(label, 'p-256');
  useHere(hsm);
  const place = { module: hsm.module, token: hsm.label, serial: undefined };
  const token = withDescriptor(hsm.pinFile, (pin) => openToken(loadModule(hsm.module), place, pin));
  const own = find(token, pkcs11.CKO_PUBLIC_KEY, label);
  const naming = { label, id: Buffer.of(0x41, 1), stored: true };
  const other = generateEcPair(token, naming, pkcs11.CKA_SIGN);
  for (const object of [...own, other.privateKey]) token.lib.C_DestroyObject(token.session, object);
  token.close();
  t.equal(await codeOf(ask(keyholder, { verb: 'key.public', label })), 'hsm_refused');
  t.ok(verifies(spki, await sign(label)), 'the private half is the own one');
});

t.test('a token without RSA signatures makes no key that could not sign', async (t) => {
  useHere(hsm, 'slots.mechanisms = -CKM_MD5,CKM_RSA_PKCS\n'); // the first after the minus is passed over
  const place = { module: hsm.module, token: hsm.label, serial: undefined };
  const token = proveKeys(
    withDescriptor(hsm.pinFile, (pin) => openToken(loadModule(hsm.module), place, pin)),
  );
  t.teardown(() => token.close());
  const label = newLabel();
  t.throws(() => makeCredentialKey(token, label, 'rsa-2048'), { code: 'hsm_mechanism_missing' });
  t.same(find(token, pkcs11.CKO_PRIVATE_KEY, label), []);
  t.equal(makeCredentialKey(token, label, 'p-256').length, 91, 'SPKI of P-256');
  t.equal(signWithCredentialKey(token, label, message).length, 64);
});
