import fc from 'fast-check';
import t from 'tap';
import { readClientHello } from '../../../src/proxy/listener/client-hello.ts';
import { hello } from './hello.ts';

/** The same message in records of `size` bytes. */
function inRecords(bytes: Buffer, size: number): Buffer {
  const message = bytes.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const content = message.subarray(at, at + size);
    records.push(Buffer.from([22, 3, 1, content.length >> 8, content.length & 255]), content);
  }
  return Buffer.concat(records);
}

const named = await hello({ servername: 'API.example.com' });

t.test('the name that a client asks for is found, whatever its version and extensions', async (t) => {
  t.same(readClientHello(named), { name: 'API.example.com' });
  const many = Array.from({ length: 200 }, (_, i) => `protocol-${i}`);
  for (const options of [
    { maxVersion: 'TLSv1.2' as const },
    { minVersion: 'TLSv1.3' as const },
    { ALPNProtocols: ['h2', 'http/1.1'] },
    { ALPNProtocols: many },
    { ecdhCurve: 'X25519MLKEM768:X25519' },
  ]) {
    const bytes = await hello({ servername: 'a.test', ...options });
    t.same(readClientHello(bytes), { name: 'a.test' }, JSON.stringify(options).slice(0, 60));
    t.same(readClientHello(Buffer.concat([bytes, Buffer.from('more')])), { name: 'a.test' });
  }
  t.same(readClientHello(await hello({})), { name: undefined }, 'none for an address');
});

t.test('nothing is decided before the message is whole', async (t) => {
  for (let end = 0; end < named.length; end++) {
    t.equal(readClientHello(named.subarray(0, end)), 'more', `${end} of ${named.length} bytes`);
  }
  const cut = inRecords(named, Math.ceil((named.length - 5) / 4));
  t.same(readClientHello(cut), { name: 'API.example.com' }, 'in several records');
  t.equal(readClientHello(cut.subarray(0, cut.length - 1)), 'more');
  t.equal(readClientHello(inRecords(named, 3)), 'other', 'in absurdly many');
});

t.test('what is no ClientHello is known from its first bytes', async (t) => {
  for (const text of [
    'GET / HTTP/1.1\r\n',
    'SSH-2.0-x\r\n',
    '\x16\x02',
    '\x16\x03\x01\0\0',
    '\x16\x03\x01\xff\xff',
  ]) {
    t.equal(readClientHello(Buffer.from(text, 'latin1')), 'other', JSON.stringify(text));
  }
  const other = Buffer.from(named);
  other[5] = 2;
  t.equal(readClientHello(other), 'other', 'another message');
  const endless = Buffer.from(named);
  endless[6] = 1;
  t.equal(readClientHello(endless), 'other', 'one that is too long');
});

t.test('whatever comes, it is read or not, and quickly', async () => {
  const reads = (bytes: Uint8Array): boolean => {
    const found = readClientHello(Buffer.from(bytes));
    return typeof found === 'object' || found === 'more' || found === 'other';
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), reads), { numRuns: 2_000 });
  const mutated = fc
    .array(fc.tuple(fc.nat(named.length - 1), fc.nat(255)), { maxLength: 6 })
    .map((changes) => {
      const bytes = Buffer.from(named);
      for (const [at, byte] of changes) bytes[at] = byte;
      return bytes;
    });
  fc.assert(fc.property(mutated, reads), { numRuns: 5_000 });
});
