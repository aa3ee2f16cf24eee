import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { readPin } from '../../src/keyholder/pin.ts';
import { withDescriptor } from './descriptor.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-pin-'));
const file = join(folder, 'pin');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

function read(content: string | Uint8Array): string {
  writeFileSync(file, content);
  return withDescriptor(file, (fd) => readPin(fd).toString('latin1'));
}

t.test('a PIN is the file without its last line break, every time it is read', async (t) => {
  t.equal(read('1234'), '1234');
  t.equal(read('1234\n'), '1234');
  t.equal(read('1234\r\n'), '1234');
  t.equal(read('12 34 \n\n'), '12 34 \n');
  withDescriptor(file, (fd) => t.same(readPin(fd), readPin(fd)));
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 256 }), (pin) => {
      fc.pre(pin.at(-1) !== 0x0a && pin.at(-1) !== 0x0d);
      t.equal(read(Buffer.concat([pin, Buffer.from('\n')])), Buffer.from(pin).toString('latin1'));
    }),
  );
});

t.test('no PIN, too much of one, or no file is refused', async (t) => {
  for (const empty of ['', '\n', '\r\n']) t.throws(() => read(empty), { code: 'hsm_pin_missing' });
  for (const length of [257, 300, 100_000]) {
    t.throws(() => read('x'.repeat(length)), { code: 'hsm_pin_missing', message: /more than 256/ });
  }
  t.throws(() => withDescriptor(folder, readPin), { code: 'hsm_pin_missing', message: /cannot be read/ });
  t.throws(() => readPin(9999), { code: 'hsm_pin_missing' });
});

t.test('a pipe gives its PIN once', async (t) => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(pipe, constants.O_WRONLY);
  writeFileSync(writer, '1234\n');
  closeSync(writer);
  t.equal(readPin(reader).toString(), '1234');
  t.throws(() => readPin(reader), { code: 'hsm_pin_missing' });
  closeSync(reader);
});
