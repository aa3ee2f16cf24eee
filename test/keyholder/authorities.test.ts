import { createVerify, randomBytes } from 'node:crypto';
import t from 'tap';
import { KeyholderInfo } from '../../src/channel/messages/keyholder.ts';
import { publicKeyOf } from '../../src/keyholder/point.ts';
import { ecdsaSignature } from '../../src/vault/authorities/der.ts';
import { makeToken, startKeyholder } from '../support/softhsm.ts';
import { ask, bytesOf, codeOf } from './ask.ts';

t.setTimeout(60_000);
const { hsm } = makeToken();
const keyholder = await startKeyholder(hsm);
t.teardown(async () => {
  await keyholder.stop();
  hsm.remove();
});
const label = `agt_${randomBytes(16).toString('hex')}-1`;
const message = randomBytes(300);

function verifies(point: Buffer, signature: Buffer): boolean {
  return createVerify('sha256').update(message).verify(publicKeyOf(point), ecdsaSignature(signature));
}

t.test('an authority signs with a key that never leaves the token', async (t) => {
  const point = await bytesOf(keyholder, { verb: 'authority.make', label });
  for (let round = 0; round < 20; round++) {
    const signature = await bytesOf(keyholder, { verb: 'authority.sign', label }, [message]);
    t.equal(signature.length, 64);
    t.ok(verifies(point, signature), 'whatever zeros its halves begin with');
  }
  const { keys } = KeyholderInfo.parse((await ask(keyholder, { verb: 'info' })).header);
  t.match(
    keys.find((key) => key.label === label),
    { type: 'EC P-256', extractable: false, sensitive: true, neverExtractable: true, local: true },
  );
});

t.test("so does the proxy's own, which no other key is named like", async (t) => {
  const point = await bytesOf(keyholder, { verb: 'authority.make', label: 'sallyport-proxy-1' });
  const signature = await bytesOf(keyholder, { verb: 'authority.sign', label: 'sallyport-proxy-1' }, [
    message,
  ]);
  t.ok(verifies(point, signature));
  t.equal(
    await codeOf(ask(keyholder, { verb: 'authority.sign', label: 'sallyport-proxy-11' }, [message])),
    'hsm_key_missing',
  );
  await ask(keyholder, { verb: 'authority.destroy', label: 'sallyport-proxy-1' });
});

t.test('made again, it is another key: nobody has had the first one', async (t) => {
  const first = await bytesOf(keyholder, { verb: 'authority.make', label });
  const second = await bytesOf(keyholder, { verb: 'authority.make', label });
  t.notOk(first.equals(second));
  const signature = await bytesOf(keyholder, { verb: 'authority.sign', label }, [message]);
  t.notOk(verifies(first, signature));
  t.ok(verifies(second, signature));
  const { labels } = Object((await ask(keyholder, { verb: 'authority.list' })).header);
  t.same(labels, [label]);
});

t.test('no other key is reached by its label', async (t) => {
  for (const name of [
    'sallyport-audit',
    'sallyport-kek-1',
    'sallyport-intake',
    '',
    `${label}1111`,
    'sallyport-proxy',
    'sallyport-proxy-0',
    'proxy-1',
    ` ${label}`,
  ]) {
    for (const verb of ['authority.make', 'authority.destroy'] as const) {
      t.equal(await codeOf(ask(keyholder, { verb, label: name })), 'channel_malformed', `${verb} ${name}`);
    }
    t.equal(
      await codeOf(ask(keyholder, { verb: 'authority.sign', label: name }, [message])),
      'channel_malformed',
    );
  }
  t.equal((await bytesOf(keyholder, { verb: 'sign' }, [message])).length, 64, 'the audit key is still there');
});

t.test('destroyed, it signs nothing more; to destroy it again is no failure', async (t) => {
  await ask(keyholder, { verb: 'authority.destroy', label });
  await ask(keyholder, { verb: 'authority.destroy', label });
  t.equal(await codeOf(ask(keyholder, { verb: 'authority.sign', label }, [message])), 'hsm_key_missing');
});
