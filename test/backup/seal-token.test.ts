import fc from 'fast-check';
import t from 'tap';
import { decodeHead } from '../../src/backup/format.ts';
import { openToken, sealToken } from '../../src/backup/seal-token.ts';

t.setTimeout(60_000);
const passphrase = Buffer.from('a passphrase of some length');
const files = [
  { name: 'tokens/0a/token.object', bytes: Buffer.from('object') },
  { name: 'pin', bytes: Buffer.from('1234') },
  { name: 'tokens/empty.lock', bytes: Buffer.alloc(0) },
];
const sealed = sealToken(files, passphrase, 'installation');

t.test('what is sealed opens under the same passphrase and installation, and no other', async (t) => {
  t.same(openToken(sealed, passphrase, 'installation'), files);
  t.notOk(sealed.includes('object'));
  t.throws(() => openToken(sealed, passphrase, 'another'), { code: 'backup_invalid' });
  t.throws(() => openToken(sealed, Buffer.from('a passphrase of some lengtH'), 'installation'), {
    code: 'backup_invalid',
  });
  for (const place of [0, sealed.length - 1]) {
    const altered = Buffer.from(sealed);
    altered.writeUInt8(altered.readUInt8(place) ^ 0x80, place);
    t.throws(() => openToken(altered, passphrase, 'installation'), { code: 'backup_invalid' }, `at ${place}`);
  }
  t.throws(() => openToken(sealed.subarray(0, 40), passphrase, 'installation'), { code: 'backup_invalid' });
});

t.test('no name leads out of the folder', async (t) => {
  for (const name of ['../pin', '/etc/passwd', 'a/../b', '.', 'a//b', 'a/b/c/d/e', 'ü', ''])
    t.throws(
      () => sealToken([{ name, bytes: Buffer.alloc(1) }], passphrase, ''),
      { code: 'invalid_argument' },
      name,
    );
});

t.test('whatever stands in a file, reading its head ends in an answer', async () => {
  const lines = fc.array(fc.oneof(fc.string(), fc.constant('sallyport backup 1'), fc.json()), {
    maxLength: 4,
  });
  fc.assert(
    fc.property(lines, (some) => {
      try {
        decodeHead(Buffer.from(`${some.join('\n')}\n`));
        return false; // nobody signs by chance
      } catch (error) {
        return error instanceof Error && 'code' in error && error.code === 'backup_invalid';
      }
    }),
  );
});
