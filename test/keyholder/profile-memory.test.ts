import { randomBytes } from 'node:crypto';
import t from 'tap';
import { Provisioned } from '../../src/channel/messages/keyholder.ts';
import { countInMemory } from '../support/process-memory.ts';
import { makeSoftHsm, runProvision, startKeyholder } from '../support/softhsm.ts';
import { ask, bytesOf } from './ask.ts';

t.setTimeout(120_000);
const aad = Buffer.from('aad');

for (const profile of ['aes-kwp', 'ecdh-hpke', 'rsa-oaep-sha1']) {
  t.test(`${profile}: no copy of a DEK is left after wrapping, unwrapping and refusing it`, async (t) => {
    const hsm = makeSoftHsm('memory');
    const info = Provisioned.parse(runProvision(hsm, { args: ['--create', '--profile', profile] }).output);
    t.equal(info.profile, profile);
    const keyholder = await startKeyholder(hsm);
    t.teardown(async () => {
      await keyholder.stop();
      hsm.remove();
    });
    const dek = randomBytes(32);
    for (let run = 0; run < 50; run++) {
      const wrapped = await bytesOf(keyholder, { verb: 'wrap' }, [dek, aad]);
      const back = await bytesOf(keyholder, { verb: 'unwrap', kek: info.kek }, [wrapped, aad]);
      t.ok(back.equals(dek));
      const other = ask(keyholder, { verb: 'unwrap', kek: info.kek }, [wrapped, Buffer.from('other')]);
      await t.rejects(other, { code: 'hsm_refused' });
    }
    const halves = [dek, dek.subarray(0, 16), dek.subarray(16)];
    t.same(countInMemory(keyholder.pid, halves), [0, 0, 0]);
  });
}
