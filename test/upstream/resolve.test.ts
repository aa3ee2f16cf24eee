import dgram from 'node:dgram';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { caresQuery, type DnsQuery } from '../../src/upstream/dns-query.ts';
import { parseHosts } from '../../src/upstream/hosts-file.ts';
import { Resolver, type ResolverOptions } from '../../src/upstream/resolve.ts';
import { WatchedFile } from '../../src/upstream/watched-file.ts';

/** DNS that never may be asked. */
const NO_DNS: DnsQuery = {
  resolve4: async (name) => Promise.reject(new Error(`asked for ${name}`)),
  resolve6: async (name) => Promise.reject(new Error(`asked for ${name}`)),
};

function resolver(options: Partial<ResolverOptions> = {}): Resolver {
  return new Resolver({
    overrides: [],
    timeoutMs: 2000,
    maxConcurrentPerAgent: 4,
    hostsFile: '/nonexistent',
    query: NO_DNS,
    ...options,
  });
}

/**
 * A DNS server over UDP: A and AAAA records from `records`, NXDOMAIN for the rest, silence where `isSlow`.
 */
async function startDns(t: Test, records: Record<string, string[]>, isSlow = (_name: string) => false) {
  const socket = dgram.createSocket('udp4');
  const asked: string[] = [];
  socket.on('message', (query, from) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const name = labels.join('.');
    const type = query.readUInt16BE(at + 1);
    asked.push(`${name} ${type === 1 ? 'A' : 'AAAA'}`);
    if (isSlow(name)) return;
    const found = records[name]?.filter((address) => address.includes(':') === (type === 28));
    const answers = (found ?? []).map((address) => {
      const data = type === 1 ? Buffer.from(address.split('.').map(Number)) : fullIPv6(address);
      const head = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, data.length]);
      return Buffer.concat([head, data]);
    });
    const head = Buffer.from([0, 0, 0x81, found ? 0x80 : 0x83, 0, 1, 0, answers.length, 0, 0, 0, 0]);
    query.copy(head, 0, 0, 2);
    socket.send(Buffer.concat([head, query.subarray(12, at + 5), ...answers]), from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  return { asked, server: `127.0.0.1:${socket.address().port}` };
}

/** Of a test's address, written in full. */
function fullIPv6(address: string): Buffer {
  const groups = address.split(':').map((group) => Number.parseInt(group, 16));
  return Buffer.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

t.test('an override names where to dial, its port too, and is exact', async (t) => {
  const overrides = [
    { host: 'API.example.com', port: 443, address: '127.0.0.1', toPort: 8443 },
    { host: 'six.example.com', port: 443, address: '[::1]', toPort: 443 },
    { host: '192.0.2.1', port: 443, address: '10.0.0.1', toPort: 1 },
  ];
  const query: DnsQuery = { resolve4: async () => ['192.0.2.9'], resolve6: async () => [] };
  const found = resolver({ overrides, query });
  t.strictSame(await found.resolve('api.example.com', 443, 'a'), {
    addresses: [{ address: '127.0.0.1', family: 4 }],
    port: 8443,
    override: true,
  });
  t.strictSame((await found.resolve('api.example.com.', 443, 'a')).port, 8443, 'the same name with its dot');
  t.strictSame((await found.resolve('six.example.com', 443, 'a')).addresses, [{ address: '::1', family: 6 }]);
  t.strictSame((await found.resolve('192.0.2.1', 443, 'a')).port, 1, 'an address can be overridden');
  t.strictSame(await found.resolve('api.example.com', 8080, 'a'), {
    addresses: [{ address: '192.0.2.9', family: 4 }],
    port: 8080,
    override: false,
  });
  const wrong = [{ host: 'x', port: 1, address: 'example.com', toPort: 1 }];
  t.throws(() => resolver({ overrides: wrong }), { code: 'invalid_settings' });
});

t.test('IP literals and localhost are not looked up', async (t) => {
  const found = resolver();
  t.strictSame(await found.resolve('192.0.2.1', 443, 'a'), {
    addresses: [{ address: '192.0.2.1', family: 4 }],
    port: 443,
    override: false,
  });
  t.strictSame((await found.resolve('[2001:DB8::1]', 443, 'a')).addresses, [
    { address: '2001:db8::1', family: 6 },
  ]);
  for (const name of ['localhost', 'LOCALHOST.', 'a.localhost']) {
    const { addresses } = await found.resolve(name, 443, 'a');
    t.strictSame(
      addresses.map(({ address }) => address),
      ['127.0.0.1', '::1'],
      name,
    );
  }
});

t.test('what is no host name, or an address in disguise, is refused unasked', async (t) => {
  let asked = 0;
  const answer = async (): Promise<string[]> => {
    asked++;
    return ['127.0.0.1'];
  };
  const found = resolver({ query: { resolve4: answer, resolve6: answer } });
  const names = [
    '',
    '.',
    'a..b',
    '127.1',
    '2130706433',
    '0x7f000001',
    '1.2.3.0x4',
    '0177.0.0.1',
    'a b',
    'a\0b',
    'é.x',
  ];
  for (const name of [
    ...names,
    `${'a'.repeat(64)}.x`,
    'a.'.repeat(130),
    'a/b',
    'a@b',
    '[::1',
    'fe80::1%lo',
    'a:b',
  ]) {
    await t.rejects(found.resolve(name, 443, 'a'), { code: 'upstream_unresolved' }, JSON.stringify(name));
  }
  t.equal(asked, 0);
});

t.test('the hosts file goes before DNS', async (t) => {
  const dir = t.testdir({
    hosts: '10.9.8.7 Box.lan box # comment\n::1 box\n10.0.0.1 # box.none\nnonsense box.lan\n',
  });
  const found = resolver({ hostsFile: path.join(dir, 'hosts') });
  t.strictSame((await found.resolve('box.LAN', 443, 'a')).addresses, [{ address: '10.9.8.7', family: 4 }]);
  t.strictSame(
    (await found.resolve('box', 443, 'a')).addresses.map(({ address }) => address),
    ['10.9.8.7', '::1'],
  );
  await t.rejects(found.resolve('box.none', 443, 'a'), { code: 'upstream_unresolved' });
  const folder = resolver({ hostsFile: dir });
  await t.rejects(
    folder.resolve('box', 443, 'a'),
    { code: 'upstream_unresolved' },
    'unreadable: not ignored',
  );
});

t.test('any text is a hosts file, and every address that comes out is one', async (t) => {
  const word = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.constantFrom('#', ' ', '\t', '\n', 'a', 'b.c', '\r\n'),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(word), (words) => {
      for (const [name, addresses] of parseHosts(words.join(' '))) {
        if (/[\s#]/.test(name) || addresses.length === 0) throw new Error(name);
      }
    }),
  );
  t.strictSame(parseHosts('1.1.1.1\ta\r\n').get('a'), ['1.1.1.1']);
});

t.test('a changed file is read again, and one that is gone is empty', async (t) => {
  const file = path.join(t.testdir({ f: 'one' }), 'f');
  let parsed = 0;
  const parse = (text: string): string => {
    parsed++;
    return text;
  };
  const watched = new WatchedFile(file, '', parse, 0);
  t.equal(watched.get(), 'one');
  t.equal(watched.get(), 'one');
  t.equal(parsed, 1, 'an unchanged file is not parsed again');
  fs.writeFileSync(file, 'another');
  t.equal(watched.get(), 'another');
  fs.rmSync(file);
  t.equal(watched.get(), '');
  const lazy = new WatchedFile(file, 'none', parse);
  t.equal(lazy.get(), 'none');
  fs.writeFileSync(file, 'back');
  t.equal(lazy.get(), 'none', 'not looked at within the interval');
});

t.test('DNS: both families, cached, shared between callers', async (t) => {
  const records = {
    'both.test': ['192.0.2.1', '192.0.2.2', '2001:db8:0:0:0:0:0:1'],
    'four.test': ['192.0.2.3'],
  };
  const { asked, server } = await startDns(t, records);
  const found = resolver({ query: caresQuery(2000, [server]) });
  const all = await Promise.all(Array.from({ length: 8 }, () => found.resolve('both.test', 443, 'a')));
  for (const { addresses } of all) {
    t.strictSame(addresses.map(({ address }) => address).sort(), ['192.0.2.1', '192.0.2.2', '2001:db8::1']);
  }
  await found.resolve('both.test', 80, 'b');
  t.strictSame(asked.sort(), ['both.test A', 'both.test AAAA']);
  t.strictSame((await found.resolve('four.test', 443, 'a')).addresses, [{ address: '192.0.2.3', family: 4 }]);
  await t.rejects(found.resolve('none.test', 443, 'a'), {
    code: 'upstream_unresolved',
    message: /ENOTFOUND/,
  });
});

t.test('slow names of one agent stall that agent alone, and only for its time', async (t) => {
  const { asked, server } = await startDns(t, { 'fast.test': ['192.0.2.1'] }, (name) =>
    name.startsWith('slow'),
  );
  const found = resolver({ query: caresQuery(900, [server]), timeoutMs: 900, maxConcurrentPerAgent: 4 });
  const slow = Array.from({ length: 64 }, (_, i) => found.resolve(`slow${i}.test`, 443, 'a'));
  const settled = Promise.allSettled(slow);
  await sleep(50);
  t.equal(new Set(asked).size, 8, 'four names at once, two questions each');
  const started = performance.now();
  await found.resolve('fast.test', 443, 'b');
  t.ok(performance.now() - started < 300, 'another agent does not wait');
  const from = performance.now();
  for (const outcome of await settled) {
    t.equal(outcome.status, 'rejected');
    if (outcome.status === 'rejected') t.equal(outcome.reason.code, 'upstream_unresolved');
  }
  t.ok(performance.now() - from < 1500);
  await t.resolves(found.resolve('fast.test', 443, 'a'), 'the slots are free again');
});

t.test('lookups beyond the bound wait their turn and are answered', async (t) => {
  let running = 0;
  let most = 0;
  const resolve4 = async (): Promise<string[]> => {
    most = Math.max(most, ++running);
    await sleep(5);
    running--;
    return ['192.0.2.1'];
  };
  const found = resolver({ query: { resolve4, resolve6: async () => [] }, maxConcurrentPerAgent: 3 });
  await Promise.all(Array.from({ length: 20 }, (_, i) => found.resolve(`n${i}.test`, 443, 'a')));
  t.equal(most, 3);
});

t.test('an agent that floods is limited', async (t) => {
  const never = (): Promise<string[]> => new Promise(() => {});
  const found = resolver({ query: { resolve4: never, resolve6: never }, timeoutMs: 300 });
  const flood = Array.from({ length: 1100 }, (_, i) => found.resolve(`n${i}.test`, 443, 'a'));
  const outcomes = await Promise.allSettled(flood);
  const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason.code : 'resolved'));
  t.equal(codes.filter((code) => code === 'rate_limited').length, 1100 - 1024 - 4);
  t.equal(codes.filter((code) => code === 'upstream_unresolved').length, 1028);
});

t.test('a family that does not answer holds the other up for 50 ms at most', async (t) => {
  const query: DnsQuery = { resolve4: async () => ['192.0.2.1'], resolve6: () => new Promise(() => {}) };
  const started = performance.now();
  const { addresses } = await resolver({ query }).resolve('half.test', 443, 'a');
  const took = performance.now() - started;
  t.strictSame(addresses, [{ address: '192.0.2.1', family: 4 }]);
  t.ok(took > 35 && took < 500, `${took} ms`);
});

t.test('an answer of thousands of addresses is cut', async (t) => {
  const many = Array.from({ length: 5000 }, (_, i) => `192.0.${i >> 8}.${i & 255}`);
  const query: DnsQuery = { resolve4: async () => many, resolve6: async () => [] };
  t.equal((await resolver({ query }).resolve('many.test', 443, 'a')).addresses.length, 32);
});
