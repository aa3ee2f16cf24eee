import { chmodSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { makeToken, type RunningKeyholder, startKeyholder } from '../support/softhsm.ts';
import { ask, bytesOf, codeOf } from './ask.ts';

const KEK = 'sallyport-kek-1';
const aad = Buffer.from('aad');
const dek = Buffer.alloc(32, 0x5a);

/** Asks until it is answered; the number of milliseconds that took. */
async function untilAnswered(keyholder: RunningKeyholder): Promise<number> {
  const started = performance.now();
  while ((await codeOf(ask(keyholder, { verb: 'mac' }, [aad]))) !== undefined) {
    if (performance.now() - started > 15_000) throw new Error('the keyholder did not come back');
    await sleep(20);
  }
  return performance.now() - started;
}

t.test('a token that is moved away is unavailable; back, all of its keys work again', async (t) => {
  const { hsm, info } = makeToken();
  const keyholder = await startKeyholder(hsm);
  t.teardown(async () => {
    await keyholder.stop();
    hsm.remove();
  });
  const wrapped = await bytesOf(keyholder, { verb: 'wrap' }, [dek, aad]);
  await ask(keyholder, { verb: 'anchor.write' }, [Buffer.from('anchor')]);

  for (let round = 0; round < 3; round++) {
    renameSync(hsm.tokens, `${hsm.tokens}.gone`);
    for (const verb of ['mac', 'sign', 'info', 'anchor.read'] as const) {
      const parts = verb === 'mac' || verb === 'sign' ? [aad] : [];
      t.equal(await codeOf(ask(keyholder, { verb }, parts)), 'hsm_unavailable', verb);
    }
    const opened = ask(keyholder, { verb: 'unwrap', kek: KEK }, [wrapped, aad]);
    t.equal(await codeOf(opened), 'hsm_unavailable', 'and not hsm_refused: the wrapped key is in order');
    renameSync(`${hsm.tokens}.gone`, hsm.tokens);
    t.ok((await untilAnswered(keyholder)) < 5500, 'within the longest pause');
    t.ok((await bytesOf(keyholder, { verb: 'unwrap', kek: KEK }, [wrapped, aad])).equals(dek));
    t.equal((await bytesOf(keyholder, { verb: 'anchor.read' })).toString(), 'anchor');
    t.same((await ask(keyholder, { verb: 'info' })).header, info);
  }
});

t.test('while the token is gone a flood fails fast', async (t) => {
  const { hsm } = makeToken();
  const keyholder = await startKeyholder(hsm);
  t.teardown(async () => {
    await keyholder.stop();
    hsm.remove();
  });
  await ask(keyholder, { verb: 'info' });
  renameSync(hsm.tokens, `${hsm.tokens}.gone`);
  t.equal(await codeOf(ask(keyholder, { verb: 'mac' }, [aad])), 'hsm_unavailable');
  const started = performance.now();
  const codes = await Promise.all(
    Array.from({ length: 2000 }, () => codeOf(ask(keyholder, { verb: 'mac' }, [aad]))),
  );
  t.same([...new Set(codes)], ['hsm_unavailable']);
  t.ok(performance.now() - started < 2000, 'a millisecond each at most');
});

t.test('a PIN changed to a wrong one meanwhile is tried once', async (t) => {
  const { hsm } = makeToken();
  const keyholder = await startKeyholder(hsm);
  t.teardown(async () => {
    await keyholder.stop();
    hsm.remove();
  });
  await ask(keyholder, { verb: 'info' });
  chmodSync(hsm.pinFile, 0o600);
  truncateSync(hsm.pinFile, 0);
  renameSync(hsm.tokens, `${hsm.tokens}.gone`);
  t.equal(await codeOf(ask(keyholder, { verb: 'mac' }, [aad])), 'hsm_unavailable');
  renameSync(`${hsm.tokens}.gone`, hsm.tokens);
  await sleep(200);
  t.equal(await codeOf(ask(keyholder, { verb: 'mac' }, [aad])), 'hsm_pin_missing', 'no PIN, no login');
  writeFileSync(hsm.pinFile, 'x'.repeat(32));
  const deadline = performance.now() + 10_000;
  while ((await codeOf(ask(keyholder, { verb: 'mac' }, [aad]))) !== 'hsm_pin_wrong') {
    if (performance.now() > deadline) throw new Error('the wrong PIN was never tried');
    await sleep(20);
  }
  writeFileSync(hsm.pinFile, hsm.pin);
  await sleep(1000);
  t.equal(await codeOf(ask(keyholder, { verb: 'mac' }, [aad])), 'hsm_pin_wrong');
});
