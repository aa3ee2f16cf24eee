import { createECDH } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { credentialAad, INFO } from '../../src/sealing/intake.ts';
import { open } from '../../src/sealing/open.ts';
import { seal } from '../../src/sealing/seal.ts';
import { deriveBoxKey, MAX_PLAINTEXT } from '../../src/sealing/suite.ts';
import { browserOpen, browserSeal } from './browser.ts';
import { CFRG_P256_SHA256_AES256GCM as vector } from './vectors.ts';

const hex = (text: string): Buffer => Buffer.from(text, 'hex');

/** What the HSM does: ECDH with the intake key. */
function agree(secret: Buffer, point: Buffer): Buffer {
  const key = createECDH('prime256v1');
  key.setPrivateKey(secret);
  return key.computeSecret(point);
}

function intakeKey(): { secret: Buffer; point: Buffer } {
  const key = createECDH('prime256v1');
  const point = key.generateKeys();
  return { secret: key.getPrivateKey(), point };
}

const refused = (run: () => unknown, code: string): boolean => {
  try {
    run();
    return false;
  } catch (error) {
    return error instanceof SallyportError && error.code === code;
  }
};

t.test('the key schedule and the box are those of the published test vector', async (t) => {
  const enc = hex(vector.enc);
  const sharedX = agree(hex(vector.skRm), enc);
  t.same(agree(hex(vector.skEm), hex(vector.pkRm)), sharedX, 'both sides agree');
  const derived = deriveBoxKey(sharedX, enc, hex(vector.pkRm), hex(vector.info));
  t.equal(derived.key.toString('hex'), vector.key);
  t.equal(derived.nonce.toString('hex'), vector.nonce);
  const plaintext = open(
    enc,
    sharedX,
    hex(vector.pkRm),
    hex(vector.info),
    hex(vector.aad),
    hex(vector.ciphertext),
  );
  t.equal(plaintext.toString('hex'), vector.plaintext);
});

t.test('what is sealed opens, with the same info and aad, to the same bytes', async () => {
  const { secret, point } = intakeKey();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4096 }), fc.string(), fc.string(), (plaintext, service, label) => {
      const aad = credentialAad(service, label);
      const box = seal(point, INFO, aad, plaintext);
      const opened = open(box.enc, agree(secret, box.enc), point, INFO, aad, box.ciphertext);
      return opened.equals(plaintext) && !box.ciphertext.subarray(0, 4).equals(opened.subarray(0, 4));
    }),
    { numRuns: 200, examples: [[new Uint8Array(MAX_PLAINTEXT), 'openai', 'default']] },
  );
});

t.test('one changed bit anywhere is refused', async () => {
  const { secret, point } = intakeKey();
  const aad = credentialAad('openai', 'default');
  const box = seal(point, INFO, aad, Buffer.from('a secret value'));
  const sharedX = agree(secret, box.enc);
  const parts = [box.enc, sharedX, point, INFO, aad, box.ciphertext];
  fc.assert(
    fc.property(fc.nat(parts.length - 1), fc.nat(), fc.nat(7), (which, at, bit) => {
      const [enc, x, pk, info, ad, ciphertext] = parts.map((part, i) => {
        const copy = Buffer.from(part);
        const index = at % copy.length;
        if (i === which) copy[index] = (copy[index] ?? 0) ^ (1 << bit);
        return copy;
      });
      if (!enc || !x || !pk || !info || !ad || !ciphertext) return false;
      return refused(() => open(enc, x, pk, info, ad, ciphertext), 'sealed_box_invalid');
    }),
    { numRuns: 400 },
  );
});

t.test('arbitrary bytes in any place are refused with the one code', async () => {
  const bytes = fc.uint8Array({ maxLength: 130 }).map((value) => Buffer.from(value));
  fc.assert(
    fc.property(bytes, bytes, bytes, bytes, (enc, x, pk, ciphertext) =>
      refused(() => open(enc, x, pk, INFO, Buffer.alloc(0), ciphertext), 'sealed_box_invalid'),
    ),
    { numRuns: 500 },
  );
});

t.test('a box for one service does not open for another, nor under another label', async (t) => {
  const { secret, point } = intakeKey();
  const box = seal(point, INFO, credentialAad('openai', 'default'), Buffer.from('value'));
  const sharedX = agree(secret, box.enc);
  for (const [service, label] of [
    ['github', 'default'],
    ['openai', 'work'],
    ['openaid', 'efault'],
  ] as const) {
    const aad = credentialAad(service, label);
    t.throws(() => open(box.enc, sharedX, point, INFO, aad, box.ciphertext), { code: 'sealed_box_invalid' });
  }
});

t.test('a public key off the curve, compressed or short is refused by the sender', async (t) => {
  const { point } = intakeKey();
  const offCurve = Buffer.from(point);
  offCurve[64] = (offCurve[64] ?? 0) ^ 1;
  const compressed = createECDH('prime256v1').generateKeys(null, 'compressed');
  for (const key of [offCurve, compressed, point.subarray(0, 64), Buffer.alloc(65), Buffer.alloc(0)]) {
    t.throws(() => seal(key, INFO, Buffer.alloc(0), Buffer.from('x')), { code: 'invalid_argument' });
  }
  t.throws(() => seal(point, INFO, Buffer.alloc(0), Buffer.alloc(MAX_PLAINTEXT + 1)), {
    code: 'invalid_credential',
  });
});

t.test('no two boxes of one value share bytes', async (t) => {
  const { point } = intakeKey();
  const boxes = Array.from({ length: 50 }, () => seal(point, INFO, Buffer.alloc(0), Buffer.from('value')));
  t.equal(new Set(boxes.map((box) => box.enc.toString('hex'))).size, 50);
  t.equal(new Set(boxes.map((box) => box.ciphertext.toString('hex'))).size, 50);
});

t.test('a browser seals and opens the same boxes with WebCrypto', async (t) => {
  const { secret, point } = intakeKey();
  const aad = credentialAad('openai', 'default');
  const fromBrowser = await browserSeal(point, INFO, aad, Buffer.from('from the browser'));
  const opened = open(
    fromBrowser.enc,
    agree(secret, fromBrowser.enc),
    point,
    INFO,
    aad,
    fromBrowser.ciphertext,
  );
  t.equal(opened.toString(), 'from the browser');
  const ours = seal(point, INFO, aad, Buffer.from('from the command line'));
  t.equal(
    (await browserOpen(secret, point, ours, INFO, aad)).toString(),
    'from the command line',
    'and an implementation of its own opens ours',
  );
});
