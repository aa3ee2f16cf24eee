import t from 'tap';
import { parseSettings } from '../../src/settings.ts';

t.test('without a word everything has its default', async (t) => {
  const settings = parseSettings({});
  t.match(settings, {
    proxyListen: { host: '127.0.0.1', port: 7080 },
    apiListen: { host: '127.0.0.1', port: 7070 },
    isolation: 'auto',
    pinFile: null,
    upstreamResolve: [],
    upstreamAllow: [],
    hotSecrets: { maxAgeMs: 300_000 },
  });
  t.ok(settings.workers >= 1 && settings.workers <= 4);
});

t.test('addresses, mappings and blocks are read', async (t) => {
  const settings = parseSettings({
    proxyListen: '[::1]:0',
    upstreamResolve: ['API.example.COM.:443=127.0.0.1:8443', 'b\u00fccher.example:80=[::1]:81'],
    upstreamAllow: ['10.0.0.0/8', 'fd00::/8'],
    limits: { headBytes: 2_048 },
  });
  t.strictSame(settings.proxyListen, { host: '::1', port: 0 });
  t.strictSame(settings.upstreamResolve, [
    { host: 'api.example.com', port: 443, address: '127.0.0.1', toPort: 8443 },
    { host: 'xn--bcher-kva.example', port: 80, address: '::1', toPort: 81 },
  ]);
  t.strictSame(settings.upstreamAllow, ['10.0.0.0/8', 'fd00::/8']);
  t.equal(settings.limits.headBytes, 2_048);
  t.equal(settings.limits.tunnelsPerAgent, parseSettings({}).limits.tunnelsPerAgent);
});

t.test('what cannot be used is named', async (t) => {
  const wrong: [object, RegExp][] = [
    [{ proxyListen: '7080' }, /proxyListen: "7080" is not HOST:PORT/],
    [{ proxyListen: '127.0.0.1:70800' }, /proxyListen/],
    [{ proxyListen: '[127.0.0.1]:80' }, /proxyListen/],
    [{ upstreamResolve: ['a:443=b:443'] }, /upstreamResolve\.0: "a:443=b:443" is not/],
    [{ upstreamResolve: ['a:0=127.0.0.1:1'] }, /upstreamResolve\.0/],
    [{ upstreamResolve: ['a:443=127.0.0.1:1=x'] }, /upstreamResolve\.0/],
    [{ upstreamAllow: ['10.0.0.0'] }, /upstreamAllow\.0: "10\.0\.0\.0" is not a CIDR/],
    [{ upstreamAllow: ['10.0.0.0/33'] }, /upstreamAllow\.0/],
    [{ upstreamAllow: ['10.0.0.0/8/8'] }, /upstreamAllow\.0/],
    [{ workers: 0 }, /workers/],
    [{ workers: Number.NaN }, /workers/],
    [{ isolation: 'maybe' }, /isolation/],
    [{ hotSecrets: { maxAgeMs: 300_001 } }, /hotSecrets\.maxAgeMs/],
    [{ proxyListn: '127.0.0.1:7080' }, /proxyListn/],
  ];
  for (const [input, message] of wrong) {
    t.throws(() => parseSettings(input), { code: 'invalid_settings', message }, JSON.stringify(input));
  }
});
