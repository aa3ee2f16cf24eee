import { randomBytes } from 'node:crypto';
import { renameSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import pkcs11 from 'pkcs11js';
import t from 'tap';
import { KeyholderHealth, KeyholderInfo, RotateReply } from '../../src/channel/messages/keyholder.ts';
import { find } from '../../src/keyholder/find.ts';
import { generateEcPair } from '../../src/keyholder/generate.ts';
import { labelOf } from '../../src/keyholder/key-objects.ts';
import { loadModule, openToken } from '../../src/keyholder/token.ts';
import { makeShim } from '../support/pkcs11-shim.ts';
import {
  makeSoftHsm,
  makeToken,
  type RunningKeyholder,
  runProvision,
  type SoftHsm,
  startKeyholder,
  useHere,
} from '../support/softhsm.ts';
import { ask, bytesOf, codeOf } from './ask.ts';
import { withDescriptor } from './descriptor.ts';

t.setTimeout(120_000);
const aad = Buffer.from('aad');
const dek = randomBytes(32);

async function rotate(keyholder: RunningKeyholder, from: string): Promise<RotateReply> {
  return RotateReply.parse((await ask(keyholder, { verb: 'rotate', from })).header);
}

async function labels(keyholder: RunningKeyholder): Promise<string[]> {
  const { keys } = KeyholderInfo.parse((await ask(keyholder, { verb: 'info' })).header);
  return keys.map(({ label }) => label).filter((label) => !/mac|audit|intake/.test(label));
}

for (const profile of ['aes-gcm', 'aes-kwp', 'ecdh-hpke']) {
  t.test(`${profile}: a rotation is for new keys, old ones open until their KEK is retired`, async (t) => {
    const hsm = makeSoftHsm('rotate');
    t.equal(runProvision(hsm, { args: ['--create', '--profile', profile] }).status, 0);
    let keyholder = await startKeyholder(hsm);
    await ask(keyholder, { verb: 'info' }); // SoftHSM shows a half-written token to whoever starts during a login
    const other = await startKeyholder(hsm);
    await ask(other, { verb: 'info' });
    t.teardown(async () => {
      await keyholder.stop();
      await other.stop();
      hsm.remove();
    });
    const wrapped = await ask(keyholder, { verb: 'wrap' }, [dek, aad]);
    const unwrap = (kek: string, bytes: Buffer | undefined, by = keyholder) =>
      bytesOf(by, { verb: 'unwrap', kek }, [bytes ?? Buffer.alloc(0), aad]);

    t.same(await rotate(keyholder, 'sallyport-kek-1'), { kek: 'sallyport-kek-2', made: true });
    t.same(
      await rotate(keyholder, 'sallyport-kek-1'),
      { kek: 'sallyport-kek-2', made: false },
      'asked again',
    );
    const again = await ask(keyholder, { verb: 'wrap' }, [dek, aad]);
    t.same(again.header, { kek: 'sallyport-kek-2' });
    t.ok((await unwrap('sallyport-kek-1', wrapped.parts[0])).equals(dek));
    t.ok((await unwrap('sallyport-kek-2', again.parts[0])).equals(dek));
    t.equal(await codeOf(unwrap('sallyport-kek-2', wrapped.parts[0])), 'hsm_refused', 'each opens its own');
    t.ok((await unwrap('sallyport-kek-2', again.parts[0], other)).equals(dek), 'another keyholder finds it');
    t.same((await ask(other, { verb: 'wrap' }, [dek, aad])).header, { kek: 'sallyport-kek-2' });

    await keyholder.stop();
    keyholder = await startKeyholder(hsm);
    t.ok((await unwrap('sallyport-kek-1', wrapped.parts[0])).equals(dek), 'both are there after a restart');
    t.same((await ask(keyholder, { verb: 'wrap' }, [dek, aad])).header, { kek: 'sallyport-kek-2' });

    await ask(keyholder, { verb: 'retire', kek: 'sallyport-kek-1' });
    t.equal(await codeOf(unwrap('sallyport-kek-1', wrapped.parts[0])), 'hsm_key_missing');
    t.equal(
      await codeOf(unwrap('sallyport-kek-1', wrapped.parts[0], other)),
      'hsm_key_missing',
      'nor elsewhere',
    );
    t.ok((await unwrap('sallyport-kek-2', again.parts[0])).equals(dek));
    const left = profile === 'aes-gcm' ? ['sallyport-kek-2'] : ['sallyport-kek-2', 'sallyport-bind-2'];
    t.same(await labels(keyholder), left, 'nothing of the old one is left');
    t.same(await rotate(keyholder, 'sallyport-kek-2'), { kek: 'sallyport-kek-3', made: true });
  });
}

t.test('what must not be retired or rotated is refused, and changes nothing', async (t) => {
  const { hsm, info } = makeToken();
  const keyholder = await startKeyholder(hsm);
  t.teardown(async () => {
    await keyholder.stop();
    hsm.remove();
  });
  t.equal(await codeOf(ask(keyholder, { verb: 'retire', kek: 'sallyport-kek-1' })), 'invalid_argument');
  await rotate(keyholder, 'sallyport-kek-1');
  t.equal(await codeOf(ask(keyholder, { verb: 'retire', kek: 'sallyport-kek-2' })), 'invalid_argument');
  for (const kek of ['sallyport-kek-3', 'sallyport-mac', 'sallyport-audit', '', '__proto__']) {
    t.equal(await codeOf(ask(keyholder, { verb: 'retire', kek })), 'hsm_key_missing', kek);
    t.equal(await codeOf(ask(keyholder, { verb: 'rotate', from: kek })), 'hsm_key_missing', kek);
  }
  const after = KeyholderInfo.parse((await ask(keyholder, { verb: 'info' })).header);
  t.same(after.keys.slice(1), [
    { ...info.keys[0], label: 'sallyport-kek-2', id: '0102' },
    ...info.keys.slice(1),
  ]);
});

t.test('a rotation that the HSM fails leaves the token as it was', async (t) => {
  const shim = makeShim();
  const hsm = { ...makeSoftHsm('failing'), module: shim.module };
  runProvision(hsm, { args: ['--create', '--profile', 'aes-kwp'] });
  const keyholder = await startKeyholder(hsm);
  t.teardown(async () => {
    await keyholder.stop();
    hsm.remove();
    shim.remove();
  });
  const before = await labels(keyholder);
  const failures: [string, string][] = [
    ['fail C_GenerateKey 0x30', 'hsm_unavailable'], // CKR_DEVICE_ERROR
    ['fail C_GenerateKey 0x31', 'hsm_refused'], // CKR_DEVICE_MEMORY
    ['fail C_GenerateKey 0x63', 'hsm_mechanism_missing'], // CKR_KEY_TYPE_INCONSISTENT
    ['emulate pkcs7-wrap', 'hsm_unavailable'],
    ['garble C_WrapKey', 'hsm_refused'],
  ];
  for (const [directive, code] of failures) {
    shim.control(directive);
    t.equal(await codeOf(ask(keyholder, { verb: 'rotate', from: 'sallyport-kek-1' })), code, directive);
    shim.control();
    await sleep(150);
    t.same(await labels(keyholder), before, directive);
  }
  t.match(await rotate(keyholder, 'sallyport-kek-1'), { made: true });
});

t.test('killed while it destroys a KEK, it is asked again: all of that one goes, and no other', async (t) => {
  for (const profile of ['aes-gcm', 'aes-kwp', 'ecdh-hpke']) {
    const shim = makeShim();
    const hsm = { ...makeSoftHsm('dying'), module: shim.module };
    runProvision(hsm, { args: ['--create', '--profile', profile] });
    let keyholder = await startKeyholder(hsm);
    t.teardown(async () => {
      await keyholder.stop();
      hsm.remove();
      shim.remove();
    });
    await rotate(keyholder, 'sallyport-kek-1');
    const rotated = await labels(keyholder);
    shim.control('die C_DestroyObject');
    t.match(await codeOf(ask(keyholder, { verb: 'retire', kek: 'sallyport-kek-1' })), /^channel_/);
    shim.control();
    await keyholder.stop();
    keyholder = await startKeyholder(hsm);
    const left = rotated.filter((label) => !label.endsWith('-1'));
    t.same(await labels(keyholder), left, `${profile}: the KEK was gone before the answer`);
    await ask(keyholder, { verb: 'retire', kek: 'sallyport-kek-1' });
    t.equal(await codeOf(ask(keyholder, { verb: 'retire', kek: 'sallyport-kek-3' })), 'hsm_key_missing');
    t.same(await labels(keyholder), left);
    t.same(objectsNamed(hsm, /-1$/), [], `${profile}: nor is a public half or a key to bind with left`);
  }
});

/** Labels of the token's objects that are like `form`, as PKCS#11 lists them. */
function objectsNamed(hsm: SoftHsm, form: RegExp): string[] {
  useHere(hsm);
  const place = { module: hsm.module, token: hsm.label, serial: undefined };
  const token = withDescriptor(hsm.pinFile, (pin) => openToken(loadModule(hsm.module), place, pin));
  const kinds = [pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_DATA];
  const names = kinds.flatMap((kind) => find(token, kind).map((object) => labelOf(token, object)));
  token.close();
  return names.filter((label) => form.test(label));
}

t.test('health is told whatever state the HSM is in, without asking it', async (t) => {
  const { hsm } = makeToken();
  const keyholder = await startKeyholder(hsm);
  t.teardown(async () => {
    await keyholder.stop();
    hsm.remove();
  });
  const health = async () => KeyholderHealth.parse((await ask(keyholder, { verb: 'health' })).header);
  await ask(keyholder, { verb: 'mac' }, [aad]);
  t.match(await health(), { state: 'ok', opened: 1, lost: 0, error: null, retryInMs: null });
  const { verbs } = await health();
  t.match(verbs, { mac: { asked: 1, failed: 0, meanMicroseconds: Number } });
  renameSync(hsm.tokens, `${hsm.tokens}.gone`);
  for (let run = 0; run < 5; run++) await codeOf(ask(keyholder, { verb: 'mac' }, [aad]));
  const failing = await health();
  t.match(failing, { state: 'failing', lost: 1, error: /HSM is lost/, retryInMs: Number });
  t.ok(failing.refusedAtOnce >= 3, 'the HSM is not asked each time');
  t.equal(failing.verbs.mac?.failed, 5);
  renameSync(`${hsm.tokens}.gone`, hsm.tokens);
  await sleep(failing.retryInMs ?? 0);
  await ask(keyholder, { verb: 'mac' }, [aad]);
  t.match(await health(), { state: 'ok', opened: 2, error: null });
  t.ok((await health()).since > failing.since);
});

t.test('a public key exchanged in the token is not taken for ours, then nor later', async (t) => {
  const { hsm, info } = makeToken('exchanged');
  const keyholder = await startKeyholder(hsm);
  t.teardown(async () => {
    await keyholder.stop();
    hsm.remove();
  });
  await ask(keyholder, { verb: 'info' });
  useHere(hsm);
  const place = { module: hsm.module, token: hsm.label, serial: undefined };
  const token = withDescriptor(hsm.pinFile, (pin) => openToken(loadModule(hsm.module), place, pin));
  for (const object of find(token, pkcs11.CKO_PUBLIC_KEY, 'sallyport-intake')) {
    token.lib.C_DestroyObject(token.session, object);
  }
  const naming = { label: 'sallyport-intake', id: Buffer.of(9, 9), stored: true };
  const { privateKey } = generateEcPair(token, naming, pkcs11.CKA_DERIVE);
  token.lib.C_DestroyObject(token.session, privateKey);
  token.close();
  const { header } = await ask(keyholder, { verb: 'info' });
  t.equal(KeyholderInfo.parse(header).intakePublicKey, info.intakePublicKey, 'what was proven stands');
  await keyholder.stop();
  const next = await startKeyholder(hsm);
  t.equal(await codeOf(ask(next, { verb: 'info' })), 'hsm_refused', 'a new keyholder notices');
  await next.stop();
});
