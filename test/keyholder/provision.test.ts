import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type pkcs11 from 'pkcs11js';
import t from 'tap';
import { Provisioned } from '../../src/channel/messages/keyholder.ts';
import { readAnchor, writeAnchor } from '../../src/keyholder/anchor.ts';
import { createToken } from '../../src/keyholder/create-token.ts';
import { generateHmacKey } from '../../src/keyholder/generate.ts';
import { existingKeys } from '../../src/keyholder/key-objects.ts';
import { makeKeys } from '../../src/keyholder/make-keys.ts';
import { aesGcm } from '../../src/keyholder/profiles/aes-gcm.ts';
import { loadModule, openToken } from '../../src/keyholder/token.ts';
import { makeSoftHsm, runProvision, type SoftHsm, useHere } from '../support/softhsm.ts';
import { withDescriptor } from './descriptor.ts';

/** Every object of the token with its content, but token.object, in which SoftHSM counts logins. */
function contents(hsm: SoftHsm): Map<string, string> {
  const objects = new Map<string, string>();
  for (const name of readdirSync(hsm.tokens, { encoding: 'utf8', recursive: true })) {
    if (!name.endsWith('.object') || name.endsWith('token.object')) continue;
    objects.set(name, readFileSync(join(hsm.tokens, name), 'hex'));
  }
  return objects;
}

const ABLE = { hmac: true, ecdh: true };

function code(output: unknown): unknown {
  if (typeof output !== 'object' || output === null || !('error' in output)) return undefined;
  const { error } = output;
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}

t.test('the token and its keys are made once, and never over existing ones', async (t) => {
  const hsm = makeSoftHsm('fresh');
  t.teardown(() => hsm.remove());
  const { status, output } = runProvision(hsm);
  t.equal(status, 0);
  const { keys } = Provisioned.parse(output);
  t.equal(keys.length, 4);
  const before = contents(hsm);
  t.match(runProvision(hsm), { status: 1, output: { error: { code: 'already_exists' } } }, 'the token');
  const again = runProvision(hsm, { args: [] });
  t.match(again, { status: 1, output: { error: { code: 'already_exists', message: /sallyport-audit/ } } });
  t.equal(before.size, 6, 'two secret keys, two pairs');
  t.same(contents(hsm), before);
});

t.test('keys are made in a token that is there, unless one of ours is in it', async (t) => {
  const hsm = makeSoftHsm('given');
  t.teardown(() => hsm.remove());
  useHere(hsm);
  const module = loadModule(hsm.module);
  withDescriptor(hsm.pinFile, (pin) => createToken(module, 'given', pin));
  const place = { module: hsm.module, token: 'given', serial: undefined };
  const open = withDescriptor(hsm.pinFile, (pin) => openToken(module, place, pin));
  const stray = generateHmacKey(open, { label: 'sallyport-kek-7', id: Buffer.of(1, 7), stored: true });
  t.equal(code(runProvision(hsm, { args: [] }).output), 'already_exists');
  t.same(existingKeys(open), ['sallyport-kek-7']);
  open.lib.C_DestroyObject(open.session, stray);
  open.close();
  t.equal(runProvision(hsm, { args: [] }).status, 0);
});

t.test('an anchor whose keys are gone does not bind what comes next', async (t) => {
  const hsm = makeSoftHsm('left');
  t.teardown(() => hsm.remove());
  useHere(hsm);
  const module = loadModule(hsm.module);
  withDescriptor(hsm.pinFile, (pin) => createToken(module, 'left', pin));
  const place = { module: hsm.module, token: 'left', serial: undefined };
  const open = withDescriptor(hsm.pinFile, (pin) => openToken(module, place, pin));
  t.teardown(() => open.close());
  writeAnchor(open, Buffer.from('of an earlier installation'));
  const stray = generateHmacKey(open, { label: 'sallyport-mac', id: Buffer.of(1), stored: true });
  t.equal(code(runProvision(hsm, { args: [] }).output), 'already_exists');
  t.equal(String(readAnchor(open)), 'of an earlier installation', 'it stays where a key is there still');
  open.lib.C_DestroyObject(open.session, stray);
  t.equal(runProvision(hsm, { args: [] }).status, 0);
  t.equal(readAnchor(open), undefined);
});

t.test('what fails halfway leaves no key behind', async (t) => {
  const hsm = makeSoftHsm('halfway');
  t.teardown(() => hsm.remove());
  useHere(hsm);
  const module = loadModule(hsm.module);
  withDescriptor(hsm.pinFile, (pin) => createToken(module, 'halfway', pin));
  const place = { module: hsm.module, token: 'halfway', serial: undefined };
  const open = withDescriptor(hsm.pinFile, (pin) => openToken(module, place, pin));
  t.teardown(() => open.close());
  for (const [call, survived] of [
    ['C_GenerateKey', 1],
    ['C_GenerateKeyPair', 0],
    ['C_GenerateKeyPair', 1],
    ['C_DeriveKey', 0],
  ] as const) {
    t.throws(
      () => makeKeys({ ...open, lib: failingAt(open.lib, call, survived) }, aesGcm, ABLE),
      /CKR_DEVICE_ERROR/,
    );
    t.same(existingKeys(open), [], `${call} failed after ${survived}`);
  }
  t.equal(makeKeys(open, aesGcm, ABLE).keys.newest.label, 'sallyport-kek-1');
});

/** The real library, whose `call` fails as a device does once it has succeeded `survived` times. */
function failingAt(lib: pkcs11.PKCS11, call: string, survived: number): pkcs11.PKCS11 {
  let count = 0;
  return new Proxy(lib, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== 'function') return method;
      return (...args: unknown[]) => {
        if (name === call && count++ === survived) throw new Error('CKR_DEVICE_ERROR:48');
        return Reflect.apply(method, target, args);
      };
    },
  });
}

t.test('each cause of failure has its code, and nothing is made', async (t) => {
  const hsm = makeSoftHsm('refused');
  t.teardown(() => hsm.remove());
  const short = join(hsm.folder, 'short');
  writeFileSync(short, '1234');
  t.equal(code(runProvision(hsm, { pinFile: short }).output), 'invalid_argument');
  t.equal(code(runProvision(hsm, { label: 'x'.repeat(33) }).output), 'invalid_argument');
  t.equal(code(runProvision(hsm, { module: `${hsm.folder}/none.so` }).output), 'hsm_module_missing');
  t.equal(code(runProvision(hsm, { args: [] }).output), 'hsm_token_missing');
  t.same(contents(hsm), new Map());
  t.equal(runProvision(hsm).status, 0);
  const wrong = join(hsm.folder, 'wrong');
  writeFileSync(wrong, 'x'.repeat(32));
  t.equal(code(runProvision(hsm, { pinFile: wrong, args: [] }).output), 'hsm_pin_wrong');
});
