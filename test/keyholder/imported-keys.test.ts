import { createHmac, randomBytes } from 'node:crypto';
import t from 'tap';
import { KeyholderInfo } from '../../src/channel/messages/keyholder.ts';
import { makeShim } from '../support/pkcs11-shim.ts';
import { makeToken, startKeyholder } from '../support/softhsm.ts';
import { ask, bytesOf, codeOf } from './ask.ts';

t.setTimeout(60_000);
const { hsm } = makeToken();
const keyholder = await startKeyholder(hsm);
t.teardown(async () => {
  await keyholder.stop();
  hsm.remove();
});
const label = `crd_${randomBytes(16).toString('hex')}-1`;
const message = Buffer.from('20261124');

t.test('a secret that is put into the token keys an HMAC there, and does not leave it', async (t) => {
  for (const length of [32, 44, 64, 65, 200]) {
    const key = randomBytes(length);
    await ask(keyholder, { verb: 'key.import', label }, [key]);
    const expected = createHmac('sha256', key).update(message).digest();
    t.ok(
      (await bytesOf(keyholder, { verb: 'key.mac', label }, [message])).equals(expected),
      `${length} bytes`,
    );
  }
  const { keys } = KeyholderInfo.parse((await ask(keyholder, { verb: 'info' })).header);
  t.match(
    keys.filter((key) => key.label === label),
    [{ type: 'HMAC-SHA-256', extractable: false, sensitive: true, local: false }],
    'one key, that of the last time',
  );
});

t.test('a token that takes such secrets only as keys of their own type gets one', async (t) => {
  const shim = makeShim();
  const { hsm: wrapped } = makeToken('yubihsm');
  const through = await startKeyholder(wrapped, { module: shim.module });
  t.teardown(async () => {
    await through.stop();
    wrapped.remove();
    shim.remove();
  });
  shim.control('emulate yubihsm');
  const key = randomBytes(44);
  await ask(through, { verb: 'key.import', label }, [key]);
  const expected = createHmac('sha256', key).update(message).digest();
  t.ok((await bytesOf(through, { verb: 'key.mac', label }, [message])).equals(expected));
  const long = ask(through, { verb: 'key.import', label }, [randomBytes(65)]);
  t.equal(await codeOf(long), 'hsm_refused', 'a longer one is not for it');
});

t.test('what is no such key is refused', async (t) => {
  const key = randomBytes(44);
  for (const name of ['sallyport-mac', 'sallyport-kek-1', '', ` ${label}`]) {
    t.equal(
      await codeOf(ask(keyholder, { verb: 'key.import', label: name }, [key])),
      'channel_malformed',
      name,
    );
    t.equal(
      await codeOf(ask(keyholder, { verb: 'key.mac', label: name }, [message])),
      'channel_malformed',
      name,
    );
  }
  for (const length of [0, 257]) {
    t.equal(
      await codeOf(ask(keyholder, { verb: 'key.import', label }, [randomBytes(length)])),
      'channel_malformed',
    );
  }
  t.equal((await bytesOf(keyholder, { verb: 'mac' }, [message])).length, 32, 'the MAC key is still there');
});

t.test('it is listed, and destroyed', async (t) => {
  t.same((await ask(keyholder, { verb: 'key.list' })).header, { labels: [label] });
  await ask(keyholder, { verb: 'key.destroy', label });
  t.equal(await codeOf(ask(keyholder, { verb: 'key.mac', label }, [message])), 'hsm_key_missing');
});
