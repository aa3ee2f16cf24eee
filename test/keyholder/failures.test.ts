import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { KeyholderRequest } from '../../src/channel/messages/keyholder.ts';
import { SallyportError } from '../../src/errors.ts';
import { createToken } from '../../src/keyholder/create-token.ts';
import { loadModule, openToken } from '../../src/keyholder/token.ts';
import { makeSoftHsm, makeToken, type Overrides, startKeyholder, useHere } from '../support/softhsm.ts';
import { ask, codeOf } from './ask.ts';
import { withDescriptor } from './descriptor.ts';

const { hsm } = makeToken();
const scratch = mkdtempSync(join(tmpdir(), 'sallyport-keyholder-'));
t.teardown(() => {
  hsm.remove();
  rmSync(scratch, { recursive: true, force: true });
});

const VERBS: KeyholderRequest[] = [
  { verb: 'info' },
  { verb: 'wrap' },
  { verb: 'unwrap', kek: 'sallyport-kek-1' },
  { verb: 'sign' },
  { verb: 'mac' },
  { verb: 'agree' },
  { verb: 'anchor.read' },
  { verb: 'anchor.write' },
  { verb: 'rotate', from: 'sallyport-kek-1' },
  { verb: 'retire', kek: 'sallyport-kek-1' },
];

/** Starts a keyholder that cannot work; each verb must say why, and the process must live on to say it. */
async function failing(t: Test, overrides: Overrides, code: string, says: RegExp) {
  const keyholder = await startKeyholder(hsm, overrides);
  for (const request of VERBS) t.equal(await codeOf(ask(keyholder, request)), code, request.verb);
  const error: unknown = await ask(keyholder, { verb: 'info' }).catch((error: unknown) => error);
  t.match(error instanceof SallyportError ? error.message : '', says);
  t.equal(keyholder.process.exitCode, null, 'it lives');
  return keyholder;
}

function file(name: string, content: string | Buffer): string {
  const path = join(scratch, name);
  writeFileSync(path, content);
  return path;
}

t.test('a module that is not there, or is none, is named', async (t) => {
  const absent = join(scratch, 'no-such-module.so');
  await (await failing(t, { module: absent }, 'hsm_module_missing', /no-such-module\.so/)).stop();
  const text = file('text.so', 'not a library');
  await (await failing(t, { module: text }, 'hsm_module_missing', /text\.so/)).stop();
});

t.test('a token that is not there is named', async (t) => {
  await (await failing(t, { label: 'elsewhere' }, 'hsm_token_missing', /elsewhere/)).stop();
  const args = ['--slot-serial', '0000000000000000'];
  await (await failing(t, { args }, 'hsm_token_missing', /sallyport-test/)).stop();
});

t.test('a wrong PIN is tried once, though the right one were there the next time', async (t) => {
  const pinFile = file('pin', 'x'.repeat(32));
  const keyholder = await failing(t, { pinFile }, 'hsm_pin_wrong', /CKR_PIN_INCORRECT/);
  writeFileSync(pinFile, hsm.pin);
  await sleep(300);
  t.equal(await codeOf(ask(keyholder, { verb: 'info' })), 'hsm_pin_wrong');
  await keyholder.stop();
  const other = await startKeyholder(hsm, { pinFile });
  t.equal(await codeOf(ask(other, { verb: 'info' })), undefined, 'that PIN was right');
  await other.stop();
});

t.test('a PIN file without a PIN is named', async (t) => {
  await (await failing(t, { pinFile: file('empty', '\n') }, 'hsm_pin_missing', /empty/)).stop();
});

t.test('a token without our keys is named', async (t) => {
  const empty = makeSoftHsm('empty');
  t.teardown(() => empty.remove());
  useHere(empty);
  withDescriptor(empty.pinFile, (pin) => createToken(loadModule(empty.module), 'empty', pin));
  const keyholder = await startKeyholder(empty);
  t.equal(await codeOf(ask(keyholder, { verb: 'info' })), 'hsm_key_missing');
  await keyholder.stop();
});

t.test('a token that lacks a mechanism is refused before anybody logs in', async (t) => {
  const module = loadModule(hsm.module);
  const place = { module: hsm.module, token: hsm.label, serial: undefined };
  const sealing = 'CKM_RSA_PKCS_OAEP,CKM_ECDH1_DERIVE'; // without both, keys cannot be sealed either
  for (const [mechanism, says] of [
    ['CKM_EC_KEY_PAIR_GEN', /EC key pairs/],
    ['CKM_ECDSA', /ECDSA/],
    [sealing, /ECDH/],
    [`${sealing},CKM_SHA256_HMAC`, /HMAC/],
  ] as const) {
    useHere(hsm, `slots.mechanisms = -CKM_MD5,${mechanism}\n`); // the first after the minus is passed over
    t.throws(() => openToken(module, place, -1), { code: 'hsm_mechanism_missing', message: says });
  }
});

t.test('it ends with its channel, and not by the signals that a whole group gets', async (t) => {
  const other = makeToken('signals');
  t.teardown(() => other.hsm.remove());
  const keyholder = await startKeyholder(other.hsm);
  t.equal(await codeOf(ask(keyholder, { verb: 'info' })), undefined);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) keyholder.process.kill(signal);
  t.equal(await codeOf(ask(keyholder, { verb: 'info' })), undefined);
  t.equal(await keyholder.stop(), 0);
  t.notOk(existsSync(`/proc/${keyholder.pid}/maps`));
});
