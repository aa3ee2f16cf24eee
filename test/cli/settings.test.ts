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

t.test('the TLS listener and the proxy that leads out are read', async (t) => {
  t.match(parseSettings({}), { proxyTlsListen: null, proxyTlsCert: null, upstreamProxy: null });
  const settings = parseSettings({
    proxyTlsListen: '[::]:7443',
    proxyTlsNames: ['Proxy.Example.COM.', '[2001:DB8::1]', 'b\u00fccher.example'],
    upstreamProxy: 'http://us%20er@Proxy.Corp.example:3128/',
    upstreamProxyPasswordFile: '/etc/password',
  });
  t.strictSame(settings.proxyTlsListen, { host: '::', port: 7443 });
  t.strictSame(settings.proxyTlsNames, ['proxy.example.com', '2001:db8::1', 'xn--bcher-kva.example']);
  t.strictSame(settings.upstreamProxy, { host: 'proxy.corp.example', port: 3128, user: 'us er' });
  t.strictSame(parseSettings({ upstreamProxy: 'http://[::1]:8080' }).upstreamProxy, {
    host: '::1',
    port: 8080,
    user: null,
  });
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
    [{ proxyTlsListen: '7443' }, /proxyTlsListen: "7443" is not HOST:PORT/],
    [{ proxyTlsCert: 'cert.pem' }, /given together/],
    [{ proxyTlsKey: 'key.pem' }, /given together/],
    [{ proxyTlsNames: ['a/b'] }, /proxyTlsNames\.0: "a\/b" is neither/],
    [{ upstreamProxy: 'proxy:3128' }, /upstreamProxy: it is not http:/],
    [{ upstreamProxy: 'https://proxy:3128' }, /upstreamProxy/],
    [{ upstreamProxy: 'http://proxy' }, /upstreamProxy/],
    [{ upstreamProxy: 'http://user:password@proxy:3128' }, /upstreamProxyPasswordFile\)\.$/],
    [{ upstreamProxy: 'http://us%er@proxy:3128' }, /upstreamProxy/],
    [{ upstreamProxyPasswordFile: 'file' }, /needs an upstreamProxy with a user/],
    [{ upstreamProxy: 'http://proxy:3128', upstreamProxyPasswordFile: 'file' }, /with a user/],
    [{ limits: { tunnelsPerSecond: 0 } }, /limits\.tunnelsPerSecond/],
    [{ limits: { bodyBytes: -1 } }, /limits\.bodyBytes/],
  ];
  for (const [input, message] of wrong) {
    t.throws(() => parseSettings(input), { code: 'invalid_settings', message }, JSON.stringify(input));
  }
});
