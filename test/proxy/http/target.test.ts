import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import t from 'tap';
import {
  canonicalHost,
  parseAbsolute,
  parseAuthority,
  parseHost,
  splitPath,
} from '../../../src/proxy/http/target.ts';

/** The text stands between other bytes, so that offsets matter. */
function within<T>(text: string, parse: (bytes: Buffer, start: number, end: number) => T): T {
  return parse(Buffer.from(`1${text}1`, 'latin1'), 1, 1 + text.length);
}

t.test('every spelling of a host has one canonical form', (t) => {
  const rows: [text: string, host: string][] = [
    ['api.example.com', 'api.example.com'],
    ['API.Example.COM.', 'api.example.com'],
    ['localhost', 'localhost'],
    ['a_b.c-d', 'a_b.c-d'],
    ['1a.example', '1a.example'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['BÜCHER.example.', 'xn--bcher-kva.example'],
    ['XN--BCHER-KVA.example', 'xn--bcher-kva.example'],
    ['bücher。example', 'xn--bcher-kva.example'],
    ['ｅｘａｍｐｌｅ.com', 'example.com'],
    ['192.0.2.1', '192.0.2.1'],
    ['192.0.2.1.', '192.0.2.1'],
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['[::1]', '::1'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:0db8::0001', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['1::', '1::'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['::FFFF:c000:0201', '::ffff:192.0.2.1'],
    ['64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
    ['::192.0.2.1', '::c000:201'],
  ];
  for (const [text, host] of rows) t.equal(canonicalHost(text), host, text);
  t.end();
});

t.test('what some resolver would take for something else is no host', (t) => {
  const texts = [
    '|.|..|.a|a..b|a..|*|*.a|a b|a/b|a?b|a#b|a@b|u:p@a|a\\b|a%2eb|%61|a%00|a\0|a\n|a:80|[a]|[::1|::1]|[]|[[::1]]|http://a|"a"|a,b|a;b|a=b|a!b|a~b|a^b',
    '127.1|127.0.1|2130706433|0x7f.1|0x7f000001|0X7F.0.0.1|0177.0.0.1|127.0.0.01|1.2.3|1.2.3.4.5|256.1.1.1|1.2.3.256|a.1|a.0x1|0x|a.0x|1.2.3.4a.5|00.0.0.0|1..2.3',
    '１２７.0.0.1|127。1|１.example.１|①.1',
    ':|:::|1::2::3|1:2:3:4:5:6:7|1:2:3:4:5:6:7:8:9|12345::|g::|::1%lo|::1%25lo|[::1%eth0]|::1.2.3|::1.2.3.4.5|::1.2.3.04|::256.1.1.1|1.2.3.4::|:1|1:|::1 |1:2:3:4:5:6:7:8::|::1:2:3:4:5:6:7:8|[v1.a]',
    `xn--bcher-kva\u0301|a\u200d.b|${'a'.repeat(64)}.b|${'a.'.repeat(127)}b|a\ud800b`,
  ];
  for (const text of texts.flatMap((line) => line.split('|'))) {
    t.throws(() => canonicalHost(text), { code: 'bad_request' }, JSON.stringify(text));
  }
  t.end();
});

t.test('a canonical host is its own canonical form, and WHATWG URL reads the same host', (t) => {
  const piece = fc.constantFrom(
    ...'a b A 0 1 7 f x X . .. - _ : :: [ ] % @ ü 。 ß 127 255 256 0x xn-- ::ffff: example'.split(' '),
  );
  let accepted = 0;
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 9 }), (pieces) => {
      const text = pieces.join('');
      let host: string;
      try {
        host = canonicalHost(text);
      } catch {
        return; // refused: nothing to compare
      }
      accepted++;
      if (canonicalHost(host) !== host)
        throw new Error(`${text} is ${host}, which is ${canonicalHost(host)}`);
      const other = new URL(`http://${text.includes(':') && !text.startsWith('[') ? `[${text}]` : text}/`)
        .hostname;
      const theirs = other.replace(/\.$/, '');
      const ours = host.includes(':') ? new URL(`http://[${host}]/`).hostname : host;
      if (ours !== theirs) throw new Error(`${text}: ${host}, URL says ${other}`);
    }),
    { numRuns: 20_000 },
  );
  t.ok(accepted > 1000, `${accepted} hosts were accepted`);
  t.end();
});

t.test('authority-form needs host and port, Host takes a default', (t) => {
  t.same(within('Api.Example.com.:443', parseAuthority), { host: 'api.example.com', port: 443 });
  t.same(within('[2001:DB8::1]:8443', parseAuthority), { host: '2001:db8::1', port: 8443 });
  t.same(within('192.0.2.1:00080', parseAuthority), { host: '192.0.2.1', port: 80 });
  for (const text of [
    'a',
    'a:',
    ':1',
    'a:0',
    'a:65536',
    'a:123456',
    'a:+1',
    'a:1 ',
    ' a:1',
    'a:1:1',
    '::1:1',
    '[::1]',
    '[::1]1',
    'u@a:1',
    'a/:1',
    'a:1/',
    'b\xfc:1',
    '',
    '[a]:1',
    '[1.2.3.4]:1',
    'http://a:1',
  ]) {
    t.throws(() => within(text, parseAuthority), { code: 'bad_request' }, text);
  }
  t.same(
    within('A', (bytes, start, end) => parseHost(bytes, start, end, 443)),
    { host: 'a', port: 443 },
  );
  t.same(
    within('[::1]', (bytes, start, end) => parseHost(bytes, start, end, 443)),
    { host: '::1', port: 443 },
  );
  t.same(
    within('a:80', (bytes, start, end) => parseHost(bytes, start, end, 443)),
    { host: 'a', port: 80 },
  );
  t.end();
});

t.test('absolute-form gives scheme, authority and where the path begins', (t) => {
  const rows: [text: string, scheme: string, host: string, port: number, rest: string][] = [
    ['http://a/b?c', 'http', 'a', 80, '/b?c'],
    ['HTTPS://A.:8443', 'https', 'a', 8443, ''],
    ['https://a?b', 'https', 'a', 443, '?b'],
    ['http://[::1]:80/', 'http', '::1', 80, '/'],
    ['http://a//b', 'http', 'a', 80, '//b'],
  ];
  for (const [text, scheme, host, port, rest] of rows) {
    const { pathStart, ...target } = within(text, parseAbsolute);
    t.same(target, { scheme, host, port }, text);
    t.equal(text.slice(pathStart - 1), rest, text);
  }
  for (const text of [
    'ftp://a/',
    'http:/a',
    'http://',
    'http:///',
    'http://u@a/',
    'http://a:0/',
    'http://a\\b/',
    '//a/b',
    'http',
    '',
    'https:a',
  ]) {
    t.throws(() => within(text, parseAbsolute), { code: 'bad_request' }, text);
  }
  t.end();
});

t.test('splitPath gives the path as received, without the query', (t) => {
  const rows: [string, string][] = [
    ['/', '/'],
    ['/a/../b?c?d', '/a/../b'],
    ['/?a', '/'],
    ['/%2F', '/%2F'],
    ['*', '*'],
    ['http://a', '/'],
    ['http://a?b', '/'],
    ['http://a/b?c', '/b'],
    ['https://a:1//b', '//b'],
  ];
  for (const [text, path] of rows) t.equal(within(text, splitPath), path, text);
  t.end();
});
