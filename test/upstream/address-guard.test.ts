import net from 'node:net';
import os from 'node:os';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { isWithin, parseAddress, parseBlock } from '../../src/upstream/address.ts';
import { AddressGuard } from '../../src/upstream/address-guard.ts';

const guard = new AddressGuard({ allow: [], ownListeners: [] });
const broad = new AddressGuard({
  allow: ['0.0.0.0/0', '::/0'],
  ownListeners: [
    { host: '127.0.0.1', port: 7070 },
    { host: '0.0.0.0', port: 7080 },
    { host: '::ffff:10.1.2.3', port: 7090 },
    { host: 'control.internal', port: 7443 },
  ],
});

function refuses(t: Test, checked: AddressGuard, address: string, port = 443): void {
  t.throws(
    () => checked.check(address, port),
    { code: 'address_forbidden' },
    `${address}:${port} is refused`,
  );
}

t.test('the public Internet may be dialled', async (t) => {
  for (const address of ['8.8.8.8', '1.1.1.1', '172.32.0.1', '100.128.0.1', '192.0.1.1', '223.255.255.255']) {
    t.doesNotThrow(() => guard.check(address, 443), address);
  }
  for (const address of [
    '2606:4700::1111',
    '2001:4860:4860::8888',
    '2a00:1450:4001:81b::200e',
    '2001:200::1',
  ]) {
    t.doesNotThrow(() => guard.check(address, 443), address);
  }
});

t.test('every special range is refused at its first and last address', async (t) => {
  const rows = [
    ['0.0.0.0', '0.255.255.255'],
    ['10.0.0.0', '10.255.255.255'],
    ['100.64.0.0', '100.127.255.255'],
    ['127.0.0.0', '127.255.255.255'],
    ['169.254.0.0', '169.254.255.255'],
    ['172.16.0.0', '172.31.255.255'],
    ['192.0.0.0', '192.0.0.255'],
    ['192.0.2.0', '192.0.2.255'],
    ['192.88.99.0', '192.88.99.255'],
    ['192.168.0.0', '192.168.255.255'],
    ['198.18.0.0', '198.19.255.255'],
    ['198.51.100.0', '198.51.100.255'],
    ['203.0.113.0', '203.0.113.255'],
    ['224.0.0.0', '239.255.255.255'],
    ['240.0.0.0', '255.255.255.255'],
    ['::', '::1'],
    ['64:ff9b:1::', '64:ff9b:1:ffff:ffff:ffff:ffff:ffff'],
    ['100::', '100::ffff:ffff:ffff:ffff'],
    ['2001::', '2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff'],
    ['2001:db8::', '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'],
    ['2002::', '2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
    ['3fff::', '3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff'],
    ['4000::', 'fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
    ['fc00::', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
    ['fe80::', 'febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
    ['fec0::', 'feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
    ['ff00::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ] as const;
  for (const [first, last] of rows) {
    refuses(t, guard, first);
    refuses(t, guard, last);
  }
});

const METADATA = [
  ['169.254.169.254', '169.254.170.2', '169.254.170.23', '100.100.100.200', '168.63.129.16', '192.0.0.192'],
  ['fd00:ec2::254', 'fd00:ec2::23', 'fd20:ce::254', 'fe80::a9fe:a9fe', 'fd00:c1::a9fe:a9fe', 'fd00:42::42'],
  ['::ffff:169.254.169.254', '::ffff:a9fe:a9fe', '64:ff9b::a9fe:a9fe', '2002:a9fe:a9fe::1', '::a9fe:a9fe'],
  ['::ffff:0:169.254.169.254', '2001:0:a9fe:a9fe::', '2001:0:808:808::5601:5601', '2606::200:5efe:a9fe:a9fe'],
].flat();

t.test('metadata services are refused in every form, under the broadest allowance too', async (t) => {
  for (const address of METADATA) {
    refuses(t, guard, address);
    refuses(t, broad, address);
  }
});

t.test('no allowance opens the unspecified address, multicast or broadcast', async (t) => {
  for (const address of [
    '0.0.0.0',
    '0.1.2.3',
    '::',
    '::ffff:0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    'ff02::1',
  ]) {
    refuses(t, broad, address);
  }
});

t.test('own listeners are refused under the broadest allowance', async (t) => {
  refuses(t, broad, '127.0.0.1', 7070);
  refuses(t, broad, '::ffff:127.0.0.1', 7070);
  refuses(t, broad, '64:ff9b::7f00:1', 7070);
  t.doesNotThrow(() => broad.check('127.0.0.1', 7071), 'another port is no listener of ours');
  refuses(t, broad, '10.1.2.3', 7090);
  const local = Object.values(os.networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const addresses = [
    '127.0.0.1',
    '127.9.9.9',
    '::1',
    '::ffff:127.0.0.1',
    ...local.map((each) => each.address),
  ];
  for (const address of addresses) {
    refuses(t, broad, address, 7080);
    refuses(t, broad, address, 7443);
  }
  t.doesNotThrow(() => broad.check('10.99.98.97', 7080), 'the same port of another machine');
});

t.test('an allowance opens its range and nothing beside it', async (t) => {
  const some = new AddressGuard({ allow: ['10.1.0.0/16', 'fd12::/48', '127.0.0.1'], ownListeners: [] });
  t.doesNotThrow(() => some.check('10.1.255.255', 443));
  t.doesNotThrow(() => some.check('fd12::1', 443));
  t.doesNotThrow(() => some.check('127.0.0.1', 443));
  for (const address of ['10.2.0.0', '10.0.255.255', 'fd12:0:1::', '127.0.0.2', '192.168.0.1']) {
    refuses(t, some, address);
  }
});

t.test(
  'a wrapped IPv4 address needs an allowance, and never counts for more than what it contains',
  async (t) => {
    for (const address of ['::ffff:8.8.8.8', '64:ff9b::808:808', '2002:808:808::1', '::808:808']) {
      refuses(t, guard, address);
    }
    const embedded = new AddressGuard({ allow: ['10.0.0.0/8', '8.8.8.0/24'], ownListeners: [] });
    for (const address of ['::ffff:10.1.2.3', '::ffff:8.8.8.8', '64:ff9b::a01:203', '2002:a01:203::1']) {
      t.doesNotThrow(() => embedded.check(address, 443), address);
    }
    refuses(t, embedded, '::ffff:192.168.0.1');
    const nat64 = new AddressGuard({ allow: ['64:ff9b::/96'], ownListeners: [] });
    t.doesNotThrow(() => nat64.check('64:ff9b::808:808', 443), 'an IPv6-only network behind NAT64');
    refuses(t, nat64, '64:ff9b::a00:1');
    refuses(t, nat64, '64:ff9b::7f00:1');
  },
);

t.test('what is not a strict IP literal is refused', async (t) => {
  const forms = ['', 'localhost', '127.1', '2130706433', '0x7f.0.0.1', '0177.0.0.1', '01.1.1.1', '1.1.1.1.'];
  for (const text of [
    ...forms,
    '[::1]',
    'fe80::1%lo',
    '2606::1%1',
    '1.1.1.1 ',
    ' 1.1.1.1',
    '1.1.1.1\n',
    ':::',
    '1::2::3',
  ]) {
    refuses(t, broad, text);
  }
  try {
    guard.check(`evil\r\n${'x'.repeat(500)}`, 443);
    t.fail('must throw');
  } catch (error) {
    t.ok(error instanceof SallyportError && !/[\r\n]/.test(error.message) && error.message.length < 250);
  }
});

t.test('an allowance that is no block is refused at the start', async (t) => {
  for (const cidr of [
    '10.0.0.0/33',
    '::/129',
    'example.com',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '10.0.0/8',
    '/8',
    '',
  ]) {
    t.throws(() => new AddressGuard({ allow: [cidr], ownListeners: [] }), { code: 'invalid_settings' }, cidr);
  }
});

const bytes4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
const bytes16 = fc.uint8Array({ minLength: 16, maxLength: 16 });
const groups = (bytes: Uint8Array): string[] =>
  Array.from({ length: 8 }, (_, i) => (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16));

t.test('the parser reads back every way of writing an address', async (t) => {
  fc.assert(
    fc.property(bytes4, (bytes) => {
      t.strictSame(parseAddress(bytes.join('.')), bytes);
    }),
    { numRuns: 200 },
  );
  const sparse = fc.array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 });
  const any16 = fc.oneof(
    bytes16,
    sparse.map((each) => Uint8Array.from(each)),
  );
  let compressed = 0;
  fc.assert(
    fc.property(any16, fc.nat(7), fc.nat(7), fc.boolean(), (bytes, from, length, upper) => {
      const all = groups(bytes);
      const forms = [all.join(':'), all.map((group) => group.padStart(4, '0')).join(':')];
      forms.push(`${all.slice(0, 6).join(':')}:${bytes.slice(12).join('.')}`);
      const run = all.slice(from, from + length + 1);
      if (run.every((group) => group === '0')) {
        compressed++;
        forms.push(`${all.slice(0, from).join(':')}::${all.slice(from + run.length).join(':')}`);
      }
      forms.push(new URL(`http://[${all.join(':')}]/`).hostname.slice(1, -1));
      for (const form of forms) {
        const parsed = parseAddress(upper ? form.toUpperCase() : form);
        if (!parsed || Buffer.compare(parsed, bytes) !== 0) throw new Error(`${form} is read as ${parsed}`);
      }
    }),
    { numRuns: 3000 },
  );
  t.ok(compressed > 100, 'shortened forms were tried');
});

t.test('any text is an address exactly where Node says so', async (t) => {
  const text = fc.array(fc.constantFrom(...'0123456789abcfx.:/%[] '.split('')), { maxLength: 24 });
  fc.assert(
    fc.property(
      fc.oneof(
        text.map((each) => each.join('')),
        fc.string(),
        fc.ipV4(),
        fc.ipV6(),
        fc.ipV4Extended(),
      ),
      (candidate) => {
        const expected = candidate.includes('%') ? 0 : net.isIP(candidate);
        const length = { 0: undefined, 4: 4, 6: 16 }[expected];
        if (parseAddress(candidate)?.length !== length) throw new Error(candidate);
      },
    ),
    { numRuns: 5000 },
  );
  t.pass();
});

t.test('blocks contain what BlockList says', async (t) => {
  let inside = 0;
  const near = fc.tuple(fc.oneof(bytes4, bytes16), fc.nat(128), fc.nat(127)).map(([bytes, bits, flip]) => {
    const other = Uint8Array.from(bytes);
    const at = flip % (bytes.length * 8);
    other[at >> 3] = (other[at >> 3] ?? 0) ^ (0x80 >> (at & 7));
    return { bytes, other, bits: bits % (bytes.length * 8 + 1) };
  });
  fc.assert(
    fc.property(near, ({ bytes, other, bits }) => {
      const write = (each: Uint8Array) => (each.length === 4 ? each.join('.') : groups(each).join(':'));
      const family = bytes.length === 4 ? 'ipv4' : 'ipv6';
      const oracle = new net.BlockList();
      oracle.addSubnet(write(bytes), bits, family);
      const block = parseBlock(`${write(bytes)}/${bits}`);
      if (!block) throw new Error('no block');
      const expected = oracle.check(write(other), family);
      if (expected) inside++;
      if (isWithin(block, other) !== expected) throw new Error(`${write(other)} in ${write(bytes)}/${bits}`);
    }),
    { numRuns: 2000 },
  );
  t.ok(inside > 200, 'both sides were tried');
});

t.test('no wrapper opens what the plain address does not', async (t) => {
  const allow = ['10.0.0.0/8', '127.0.0.0/8', '64:ff9b::/96', '2002::/16', '::ffff:0:0/96'];
  const checked = new AddressGuard({ allow, ownListeners: [{ host: '127.0.0.1', port: 443 }] });
  const passes = (address: string): boolean => {
    try {
      checked.check(address, 443);
      return true;
    } catch {
      return false;
    }
  };
  const special = fc.constantFrom(
    '10.0.0.1',
    '127.0.0.1',
    '127.0.0.2',
    '169.254.169.254',
    '192.168.0.1',
    '8.8.8.8',
  );
  const random = bytes4.map((bytes) => bytes.join('.'));
  fc.assert(
    fc.property(fc.oneof(special, random), (address) => {
      const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number);
      const hex = [(a << 8) | b, (c << 8) | d].map((group) => group.toString(16)).join(':');
      const wrapped = [
        `::ffff:${address}`,
        `64:ff9b::${hex}`,
        `2002:${hex}::1`,
        `::${hex}`,
        `::ffff:0:${hex}`,
      ];
      for (const form of wrapped) {
        if (passes(form) && !passes(address)) throw new Error(`${form} passes and ${address} does not`);
      }
    }),
    { numRuns: 2000 },
  );
  t.pass();
});
