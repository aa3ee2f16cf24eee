import fc from 'fast-check';
import t from 'tap';
import { canonicalHost, hostMatches, parseHostPattern, parseHostPort } from '../../src/catalog/host.ts';
import { canonicalHost as inRequests } from '../../src/proxy/http/target.ts';

t.test('a host has one spelling', async (t) => {
  const cases: [string, string | null][] = [
    ['Example.COM', 'example.com'],
    ['example.com.', 'example.com'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['BÜCHER.example', 'xn--bcher-kva.example'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['a。example', 'a.example'],
    ['under_score.example', 'under_score.example'],
    ['localhost', 'localhost'],
    ['10.0.0.1', '10.0.0.1'],
    ['::1', '::1'],
    ['[::1]', '::1'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['[::ffff:127.0.0.1]', '::ffff:7f00:1'],
  ];
  const refused = [
    '',
    '.',
    '..',
    'a..b',
    '.a.example',
    '-a.example',
    'a-.example',
    'a b',
    'a/b',
    'a?b',
    'a#b',
    'a@b',
  ];
  const tricks = [
    'a\\b',
    'a%2eb',
    '0x7f.1',
    '127.1',
    '010.0.0.1',
    '１２７.0.0.1',
    '1.2.3',
    '300.1.1.1',
    'a.1',
    '[a]',
  ];
  const more = [
    '[1.2.3.4]',
    '::1%eth0',
    '[::1',
    '::g',
    'a\u0000b',
    'a\nb',
    '*.example',
    `${'a'.repeat(64)}.example`,
  ];
  for (const [text, host] of cases) t.equal(canonicalHost(text), host, text);
  for (const text of [...refused, ...tricks, ...more])
    t.equal(canonicalHost(text), null, JSON.stringify(text));
  t.equal(canonicalHost(`${'a.'.repeat(127)}b`), null, 'longer than a name may be');
});

t.test('a canonical host is its own canonical form', async () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6(), fc.string(), fc.string({ unit: 'grapheme' })),
      (text) => {
        const host = canonicalHost(text);
        return host === null || (canonicalHost(host) === host && /^[a-z0-9._:-]{1,253}$/.test(host));
      },
    ),
    { numRuns: 3000 },
  );
});

t.test('a port is read where one is written, and only a port', async (t) => {
  t.same(parseHostPort('api.example'), { host: 'api.example', port: null });
  t.same(parseHostPort('api.example:8443'), { host: 'api.example', port: 8443 });
  t.same(parseHostPort('[::1]:8443'), { host: '::1', port: 8443 });
  t.same(parseHostPort('::1'), { host: '::1', port: null });
  for (const text of [
    'api.example:',
    'api.example:0',
    'api.example:x',
    'api.example:080',
    'api.example:65536',
    ':80',
  ]) {
    t.equal(parseHostPort(text), null, text);
  }
  t.same(parseHostPattern('*.api.example:8443'), { host: '*.api.example', port: 8443 });
});

t.test('wildcards cover labels, not letters', async (t) => {
  t.ok(hostMatches('api.example', 'api.example'));
  t.notOk(hostMatches('api.example', 'x.api.example'));
  t.ok(hostMatches('*.x.example', 'a.x.example'));
  t.notOk(hostMatches('*.x.example', 'a.b.x.example'));
  t.ok(hostMatches('**.x.example', 'a.b.x.example'));
  for (const pattern of ['*.x.example', '**.x.example']) {
    t.notOk(hostMatches(pattern, 'x.example'), 'not the suffix itself');
    t.notOk(hostMatches(pattern, '.x.example'), 'not an empty label');
    t.notOk(hostMatches(pattern, 'ax.example'), 'not the end of a label');
    t.notOk(hostMatches(pattern, 'a.x.example.evil.example'));
  }
});

t.test(
  'a definition and a request spell a host alike: the rules that compare them depend on it',
  async () => {
    const asked = (text: string): string | null => {
      try {
        return inRequests(text);
      } catch {
        return null;
      }
    };
    const odd = fc.stringMatching(/^(xn--)?[a-zé。ß_-]{1,5}\.[a-z0-9]{1,3}\.?$/);
    const address = fc.oneof(fc.ipV4(), fc.ipV4Extended(), fc.ipV6());
    fc.assert(
      fc.property(
        fc.oneof(
          fc.domain(),
          odd,
          address,
          address.map((text) => `[${text}]`),
          fc.string(),
        ),
        (text) => {
          const [defined, requested] = [canonicalHost(text), asked(text)];
          // A definition is stricter in one thing: no label begins or ends with a hyphen (RFC 1123, 2.1).
          if (defined === null) return requested === null || /(?:^|\.)-|-(?:\.|$)/.test(requested);
          return defined === requested;
        },
      ),
      { numRuns: 3000 },
    );
  },
);
