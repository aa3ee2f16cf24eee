import t from 'tap';
import { runEnvironment } from '../../src/cli/run-environment.ts';

const FACTS = {
  proxyUrl: 'http://bot:spa_x@127.0.0.1:7080',
  caFile: '/t/ca.pem',
  bundleFile: '/t/bundle.pem',
  wgetrcFile: '/t/wgetrc',
};

t.test('an inherited proxy is replaced in both cases', async (t) => {
  const environment = runEnvironment(
    {
      HTTPS_PROXY: 'http://a',
      https_proxy: 'http://b',
      ALL_PROXY: 'socks5://c',
      all_proxy: 'socks5://d',
      Http_Proxy: 'http://e',
      PATH: '/bin',
    },
    FACTS,
  );
  for (const name of ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy']) {
    t.equal(environment[name], FACTS.proxyUrl, name);
  }
  t.notOk(
    Object.keys(environment).some(
      (name) => /^all_proxy$|^Http_Proxy$/i.test(name) && /^[aA]|Http_/.test(name),
    ),
  );
  t.equal(environment.PATH, '/bin');
});

t.test('what adds roots gets the CA, what replaces them the bundle', async (t) => {
  const environment = runEnvironment({ SSL_CERT_FILE: '/mine', NODE_EXTRA_CA_CERTS: '/mine' }, FACTS);
  t.equal(environment.NODE_EXTRA_CA_CERTS, FACTS.caFile);
  for (const name of [
    'SSL_CERT_FILE',
    'CURL_CA_BUNDLE',
    'REQUESTS_CA_BUNDLE',
    'GIT_SSL_CAINFO',
    'AWS_CA_BUNDLE',
  ]) {
    t.equal(environment[name], FACTS.bundleFile, name);
  }
});

t.test('NO_PROXY keeps what was there, and this machine; a star is dropped', async (t) => {
  const environment = runEnvironment({ NO_PROXY: '.corp, localhost', no_proxy: '*,10.0.0.1' }, FACTS);
  t.equal(environment.NO_PROXY, '.corp,localhost,10.0.0.1,127.0.0.1,::1');
  t.equal(environment.no_proxy, environment.NO_PROXY);
});

t.test('git speaks HTTP/1.1, behind whatever it was told before', async (t) => {
  const said = (inherited: Record<string, string>) =>
    Object.fromEntries(
      Object.entries(runEnvironment(inherited, FACTS)).filter(([name]) => name.startsWith('GIT_CONFIG_')),
    );
  t.same(said({}), {
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'http.version',
    GIT_CONFIG_VALUE_0: 'HTTP/1.1',
  });
  const own = { GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'user.name', GIT_CONFIG_VALUE_0: 'bot' };
  t.same(said(own), {
    ...own,
    GIT_CONFIG_COUNT: '2',
    GIT_CONFIG_KEY_1: 'http.version',
    GIT_CONFIG_VALUE_1: 'HTTP/1.1',
  });
  t.same(said({ GIT_CONFIG_COUNT: 'x' }), { GIT_CONFIG_COUNT: 'x' }, 'git says what is wrong with it');
});

t.test('nothing that leads to the vault is handed on', async (t) => {
  const environment = runEnvironment(
    {
      SALLYPORT_TOKEN: 'spa_secret',
      SALLYPORT_DATA: '/data',
      SOFTHSM2_CONF: '/conf',
      CREDENTIALS_DIRECTORY: '/run/credentials',
      HSM_PIN: '1234',
      PKCS11_PIN: '1234',
      PINNED: 'stays',
    },
    FACTS,
  );
  const rest = Object.keys(environment).filter((name) => /SALLYPORT|SOFTHSM|CREDENTIALS|PIN/.test(name));
  t.strictSame(rest, ['PINNED']);
});
