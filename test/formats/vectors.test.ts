import { createHmac } from 'node:crypto';
import t from 'tap';
import { chainStart, checkpointMessage, linkHash, linkLine } from '../../src/audit/chain.ts';
import { encodeFields } from '../../src/sealing/fields.ts';
import type { PolicyRow } from '../../src/store/schema.ts';
import { encodeAnchor, encodeRecord } from '../../src/vault/integrity/anchor.ts';
import { contentsOf } from '../../src/vault/integrity/contents.ts';
import { StateDigest } from '../../src/vault/integrity/digest.ts';
import { encodeRow } from '../../src/vault/integrity/encode.ts';

/*
 * What is stored, byte for byte, computed from the formats' descriptions with another language's library. A vector that
 * does not fit any more means that what was stored cannot be read: make a new format beside the old one.
 *
 * Others: wrapped DEKs of each profile, test/keyholder/format.test.ts; sealed fields and what they are bound to,
 * test/vault/credentials/envelope.test.ts; boxes sealed to the intake key, test/sealing/hpke.test.ts; backups, backup.test.ts.
 */
const KEY = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
const HEAD = { counter: 7, digest: 'ab'.repeat(32) };
const GRANT: PolicyRow = {
  table: 'grants',
  row: {
    ...{ id: 'grt_1', agent: 'agt_1', service: 'acme', credential: 'crd_1', methods: '["GET"]', paths: '[]' },
    ...{ created_at: '2026-11-24T00:00:00.000Z', removed_at: null, generation: 7, mac: Buffer.alloc(0) },
  },
};

function mac(bytes: Buffer): string {
  return createHmac('sha256', KEY).update(bytes).digest('hex');
}

t.test("a row's MAC", async (t) => {
  t.equal(mac(encodeRow(GRANT)), 'b7ab53bfcf3740e1fd29d6b3b5d9b6007ac9629bcd986bf37fee00781cc13c60');
});

t.test("the state's digests, its records of both versions, and its anchor", async (t) => {
  const state = new StateDigest();
  state.put([['grants/grt_1', Buffer.from(mac(encodeRow(GRANT)), 'hex')]]);
  t.equal(
    state.preview(7).toString('hex'),
    '3f7f517271b2f24bb5825b7cfa4537289044e6d78fb79958eaf6debbcdc2a34c',
  );
  const contents = new StateDigest('sallyport contents v1');
  contents.put([contentsOf(GRANT)]);
  t.equal(
    contents.preview(7).toString('hex'),
    '5cc34787cdc36a34b3fe3f5ce8daa0f3262624c4079aae0113f5684c27a9f38f',
  );
  t.equal(mac(encodeRecord(HEAD, null)), '12bfac2a5cb3acafbd7c527b9faa7add534b65d1f46b746dfd18fb69c8f205ff');
  t.equal(
    mac(encodeRecord(HEAD, 'cd'.repeat(32))),
    '509ebd5b87c6a06657b0465b1919fb93ce45a19dae2a688afa9c26f7930ba74b',
  );
  t.equal(String(encodeAnchor(HEAD)), `{"format":1,"state":{"counter":7,"digest":"${'ab'.repeat(32)}"}}`);
});

t.test('the chain of a journal, and what a checkpoint signs', async (t) => {
  const file = '20261124T182726123Z-vault-1.ndjson';
  const record =
    '{"type":"admin","time":"2026-11-24T18:27:26.123Z","action":"start","subject":"vault","detail":{}}\n';
  const start = chainStart(file);
  t.equal(start.hash, '7967f5475a3903a25114385d237619083913d2c4b90f3655ac9b29975584d7e3');
  const first = linkHash(start.hash, Buffer.from(record));
  t.equal(first, 'b73790037b09f744396b89552fb5316b3c9dd27cfe5025f423b2868209cfebb4');
  const second = linkHash(first, Buffer.from(record + record));
  t.equal(second, '77bfafb038340c549ac096a1ee235377db65d5b4df942293ecb20f0b02be74b5');
  t.equal(linkLine({ link: 2, hash: second }), `{"link":2,"hash":"${second}"}\n`);
  t.equal(
    String(checkpointMessage(file, { link: 2, hash: second })),
    `sallyport checkpoint 1\n${file}\n2\n${second}\n`,
  );
});

t.test('the fields of a credential', async (t) => {
  const fields = [
    { name: 'user', value: Buffer.from('me') },
    { name: 'token', value: Buffer.from('s3cret') },
  ];
  t.equal(encodeFields(fields).toString('hex'), '020475736572000000026d6505746f6b656e00000006733363726574');
});
