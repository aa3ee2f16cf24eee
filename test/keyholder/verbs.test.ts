import { createECDH, randomBytes, verify } from 'node:crypto';
import { chmodSync, truncateSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { KeyholderInfo } from '../../src/channel/messages/keyholder.ts';
import { publicKeyOf } from '../../src/keyholder/point.ts';
import { makeToken, startKeyholder } from '../support/softhsm.ts';
import { ask, bytesOf, codeOf } from './ask.ts';

const { hsm, info } = makeToken();
const keyholder = await startKeyholder(hsm);
t.teardown(async () => {
  await keyholder.stop();
  hsm.remove();
});
const KEK = 'sallyport-kek-1';
const aad = Buffer.from('credential 7, version 2');

t.test('info reports the token and its keys as the HSM does', async (t) => {
  const { header } = await ask(keyholder, { verb: 'info' });
  t.same(header, info);
  const { keys, kek, profile, token } = KeyholderInfo.parse(header);
  t.match({ kek, profile, token }, { kek: KEK, profile: 'aes-gcm', token: hsm.label });
  t.same(
    keys.map(({ label, type }) => [label, type]),
    [
      [KEK, 'AES-256'],
      ['sallyport-mac', 'HMAC-SHA-256'],
      ['sallyport-audit', 'EC P-256'],
      ['sallyport-intake', 'EC P-256'],
    ],
  );
  for (const key of keys) {
    t.match(key, { extractable: false, sensitive: true, neverExtractable: true, local: true });
  }
});

t.test('a wrapped key opens under its own AAD, for every length that a key may have', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 64 }),
      fc.uint8Array({ maxLength: 300 }),
      fc.uint8Array({ maxLength: 300 }),
      async (dek, right, other) => {
        const { header, parts } = await ask(keyholder, { verb: 'wrap' }, [dek, right]);
        t.same(header, { kek: KEK });
        const [wrapped = Buffer.alloc(0)] = parts;
        const back = await bytesOf(keyholder, { verb: 'unwrap', kek: KEK }, [wrapped, right]);
        t.ok(back.equals(dek));
        if (!Buffer.from(other).equals(right)) {
          const refused = codeOf(ask(keyholder, { verb: 'unwrap', kek: KEK }, [wrapped, other]));
          t.equal(await refused, 'hsm_refused');
        }
      },
    ),
    { numRuns: 60 },
  );
});

t.test('two wraps of one key differ', async (t) => {
  const dek = randomBytes(32);
  const first = await bytesOf(keyholder, { verb: 'wrap' }, [dek, aad]);
  const second = await bytesOf(keyholder, { verb: 'wrap' }, [dek, aad]);
  t.equal(first.length, 1 + 12 + 32 + 16);
  t.notOk(first.subarray(1, 13).equals(second.subarray(1, 13)), 'no IV is used twice');
});

t.test('every changed or missing byte of a wrapped key is refused, without another login', async (t) => {
  const wrapped = await bytesOf(keyholder, { verb: 'wrap' }, [randomBytes(32), aad]);
  chmodSync(hsm.pinFile, 0o600);
  truncateSync(hsm.pinFile, 0); // a login would fail from here on
  const codes = new Set<string | undefined>();
  for (let at = 0; at < wrapped.length; at++) {
    const changed = Buffer.from(wrapped);
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    codes.add(await codeOf(ask(keyholder, { verb: 'unwrap', kek: KEK }, [changed, aad])));
    codes.add(await codeOf(ask(keyholder, { verb: 'unwrap', kek: KEK }, [wrapped.subarray(0, at), aad])));
  }
  codes.add(await codeOf(ask(keyholder, { verb: 'unwrap', kek: KEK }, [Buffer.concat([wrapped, aad]), aad])));
  t.same([...codes], ['hsm_refused']);
  t.equal(await codeOf(ask(keyholder, { verb: 'unwrap', kek: KEK }, [wrapped, aad])), undefined);
  writeFileSync(hsm.pinFile, hsm.pin);
});

t.test('a KEK that the token does not hold is named as missing', async (t) => {
  const wrapped = await bytesOf(keyholder, { verb: 'wrap' }, [randomBytes(32), aad]);
  for (const kek of ['sallyport-kek-2', 'sallyport-mac', '__proto__']) {
    t.equal(await codeOf(ask(keyholder, { verb: 'unwrap', kek }, [wrapped, aad])), 'hsm_key_missing');
  }
});

t.test('a signature verifies under the audit key', async (t) => {
  const message = randomBytes(5000);
  const signature = await bytesOf(keyholder, { verb: 'sign' }, [message]);
  t.equal(signature.length, 64);
  const key = publicKeyOf(Buffer.from(info.auditPublicKey, 'hex'));
  t.ok(verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature));
  message[0] = (message[0] ?? 0) ^ 1;
  t.notOk(verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature));
});

t.test('a thousand messages are authenticated in one request, each for itself', async (t) => {
  const messages = Array.from({ length: 1000 }, (_, index) => Buffer.from(`row ${index % 999}`));
  const { parts } = await ask(keyholder, { verb: 'mac' }, messages);
  t.equal(parts.length, 1000);
  t.ok(parts.every((part) => part.length === 32));
  t.equal(new Set(parts.map((part) => part.toString('hex'))).size, 999);
  t.ok(parts[0]?.equals(parts[999] ?? Buffer.alloc(0)), 'the same message has the same MAC');
  t.same((await ask(keyholder, { verb: 'mac' })).parts, []);
});

t.test('both sides of an agreement reach the same x coordinate', async (t) => {
  for (let run = 0; run < 20; run++) {
    const sender = createECDH('prime256v1');
    const point = sender.generateKeys();
    const shared = await bytesOf(keyholder, { verb: 'agree' }, [point]);
    t.ok(shared.equals(sender.computeSecret(Buffer.from(info.intakePublicKey, 'hex'))));
  }
});

t.test('points that are not on the curve, or written otherwise, are refused', async (t) => {
  const point = createECDH('prime256v1').generateKeys();
  const off = Buffer.from(point);
  off[64] = (off[64] ?? 0) ^ 1;
  const otherCurve = createECDH('secp256k1').generateKeys();
  const compressed = createECDH('prime256v1').generateKeys(null, 'compressed');
  const hybrid = Buffer.from(point);
  hybrid[0] = 6 + ((point[64] ?? 0) & 1);
  for (const bad of [
    off,
    otherCurve,
    compressed,
    hybrid,
    Buffer.of(0),
    Buffer.alloc(65, 4),
    Buffer.alloc(0),
  ]) {
    t.equal(await codeOf(ask(keyholder, { verb: 'agree' }, [bad])), 'hsm_refused');
  }
});

t.test('the anchor is absent, then the last one written', async (t) => {
  t.same((await ask(keyholder, { verb: 'anchor.read' })).parts, []);
  for (const anchor of [Buffer.from('first'), randomBytes(4096), Buffer.of(0), Buffer.from('last')]) {
    await ask(keyholder, { verb: 'anchor.write' }, [anchor]);
    t.ok((await bytesOf(keyholder, { verb: 'anchor.read' })).equals(anchor));
  }
  for (const bad of [Buffer.alloc(0), Buffer.alloc(4097)]) {
    t.equal(await codeOf(ask(keyholder, { verb: 'anchor.write' }, [bad])), 'hsm_refused');
  }
  t.equal((await bytesOf(keyholder, { verb: 'anchor.read' })).toString(), 'last');
});

t.test('malformed requests are refused and the keyholder goes on', async (t) => {
  const malformed: [Parameters<typeof ask>[1], Buffer[]][] = [
    [{ verb: 'info' }, [aad]],
    [{ verb: 'wrap' }, [aad]],
    [{ verb: 'wrap' }, [Buffer.alloc(0), aad]],
    [{ verb: 'wrap' }, [Buffer.alloc(65), aad]],
    [{ verb: 'unwrap', kek: KEK }, [aad, aad, aad]],
    [{ verb: 'sign' }, []],
    [{ verb: 'agree' }, []],
    [{ verb: 'anchor.read' }, [aad]],
    [{ verb: 'anchor.write' }, []],
  ];
  for (const [request, parts] of malformed) {
    t.equal(await codeOf(ask(keyholder, request, parts)), 'channel_malformed', request.verb);
  }
  const { channel } = keyholder;
  for (const header of [
    null,
    'info',
    {},
    { verb: 'export' },
    { verb: 'wrap', extra: 1 },
    { verb: 'unwrap' },
  ]) {
    t.equal(await codeOf(channel.request(header, [], () => undefined, 5000)), 'channel_malformed');
  }
  t.equal(await codeOf(ask(keyholder, { verb: 'info' })), undefined);
});
