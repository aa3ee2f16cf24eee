import { createECDH, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { countInMemory } from '../support/process-memory.ts';
import { makeToken, startKeyholder } from '../support/softhsm.ts';
import { ask, bytesOf } from './ask.ts';

const { hsm, info } = makeToken();
const keyholder = await startKeyholder(hsm);
t.teardown(async () => {
  await keyholder.stop();
  hsm.remove();
});
const aad = Buffer.from('aad');

/** Whole, and each half: freed memory loses its first bytes to the allocator. */
function copies(secret: Buffer): number[] {
  const half = secret.length / 2;
  return countInMemory(keyholder.pid, [secret, secret.subarray(0, half), secret.subarray(half)]);
}

t.test('the scan finds what is there', async (t) => {
  await ask(keyholder, { verb: 'info' });
  const [label = 0, absent] = countInMemory(keyholder.pid, [Buffer.from('sallyport-kek-1'), randomBytes(16)]);
  t.ok(label > 0);
  t.equal(absent, 0);
});

t.test('no copy of a DEK is left after wrapping, unwrapping and refusing it', async (t) => {
  const dek = randomBytes(32);
  for (let run = 0; run < 100; run++) {
    const wrapped = await bytesOf(keyholder, { verb: 'wrap' }, [dek, aad]);
    const back = await bytesOf(keyholder, { verb: 'unwrap', kek: info.kek }, [wrapped, aad]);
    t.ok(back.equals(dek));
    const other = ask(keyholder, { verb: 'unwrap', kek: info.kek }, [wrapped, Buffer.from('other')]);
    await t.rejects(other, { code: 'hsm_refused' });
  }
  t.same(copies(dek), [0, 0, 0]);
});

t.test('no copy of an agreed x coordinate is left', async (t) => {
  const sender = createECDH('prime256v1');
  const point = sender.generateKeys();
  const shared = sender.computeSecret(Buffer.from(info.intakePublicKey, 'hex'));
  for (let run = 0; run < 50; run++)
    t.ok((await bytesOf(keyholder, { verb: 'agree' }, [point])).equals(shared));
  t.same(copies(shared), [0, 0, 0]);
});

t.test('no copy of what was authenticated, or signed is left', async (t) => {
  const message = randomBytes(64);
  for (let run = 0; run < 50; run++) {
    await ask(keyholder, { verb: 'mac' }, [message, message]);
    await ask(keyholder, { verb: 'sign' }, [message]);
  }
  t.same(copies(message), [0, 0, 0]);
});

t.test('the PIN is not in the environment or the arguments, and at most once in memory', async (t) => {
  const pin = Buffer.from(hsm.pin);
  for (const file of ['environ', 'cmdline']) {
    t.equal(readFileSync(`/proc/${keyholder.pid}/${file}`).indexOf(pin), -1, file);
  }
  const [plain = 0, wide] = countInMemory(keyholder.pid, [pin, Buffer.from(hsm.pin, 'utf16le')]);
  t.ok(plain <= 1, 'the string that pkcs11js takes, until it is overwritten');
  t.equal(wide, 0);
});
