import t from 'tap';
import { catalogService, catalogServices } from '../../src/catalog/catalog.ts';
import { exchangeNeeds, exchangeOf, exchangeUrl } from '../../src/catalog/exchange.ts';
import { compileInjection } from '../../src/catalog/rule.ts';
import { parseService, type Service } from '../../src/catalog/service.ts';

function fromCatalog(id: string): Service {
  const service = catalogService(id);
  if (service === undefined) throw new Error(`no service ${id}`);
  return service;
}
const refused = { code: 'invalid_credential' };

t.test('every service whose token is derived has an exchange, but for those that are named', async (t) => {
  const kinds = [...catalogServices().values()].flatMap((service) => {
    const exchange = exchangeOf(service);
    const grant = exchange?.kind === 'grant' ? ` ${exchange.grant} ${exchange.client.join('|')}` : '';
    return exchange ? [`${service.id}: ${exchange.kind}${grant} → ${exchange.token}`] : [];
  });
  t.same(kinds.sort(), [
    'atlassian-oauth: grant refresh_token json-body → access_token',
    'box: grant client_credentials body → access_token',
    'coinbase-cdp: per-request → jwt',
    'docker-hub: login → jwt',
    'dropbox: grant refresh_token body → access_token',
    'gcp-service-account: jwt-bearer → access_token',
    'generic-oauth2-cc: grant client_credentials basic|body → access_token',
    'github-app: installation → installation_token',
    'google-oauth: grant refresh_token body → access_token',
    'microsoft-graph: grant refresh_token body → access_token',
    'mongodb-atlas: grant client_credentials basic → access_token',
    'paypal: grant client_credentials basic → access_token',
    'quickbooks: grant refresh_token basic → access_token',
    'salesforce: grant client_credentials body → access_token',
    'snowflake-key-pair: key-pair-jwt → jwt',
    'spotify: grant refresh_token basic → access_token',
    'xero: grant refresh_token basic → access_token',
    'zoho-crm: grant refresh_token body → access_token',
    'zoom: grant account_credentials basic → access_token',
  ]);
  const without = [...catalogServices().values()].filter(
    (service) =>
      /\{(access_token|installation_token|jwt)\}/.test(JSON.stringify(service.auth.inject)) &&
      !exchangeOf(service),
  );
  t.same(
    without.map(({ id }) => id),
    ['linkedin'],
    'it gives no refresh token',
  );
});

t.test('the token endpoint is where the definition says, and nowhere else', async (t) => {
  const url = (id: string, fields: Record<string, string>) => {
    const service = fromCatalog(id);
    const exchange = exchangeOf(service);
    return exchange && exchangeUrl(service, exchange, fields)?.href;
  };
  t.equal(url('gcp-service-account', {}), 'https://oauth2.googleapis.com/token');
  t.equal(
    url('github-app', { app_id: '1', installation_id: '7' }),
    'https://api.github.com/app/installations/7/access_tokens',
  );
  t.equal(
    url('microsoft-graph', { tenant: 'a/../b?x#y@evil.example' }),
    'https://login.microsoftonline.com/a%2F..%2Fb%3Fx%23y%40evil.example/oauth2/v2.0/token',
  );
  t.equal(
    url('salesforce', { host: 'a.my.salesforce.com' }),
    'https://a.my.salesforce.com/services/oauth2/token',
  );
  for (const id of ['coinbase-cdp', 'snowflake-key-pair']) t.equal(url(id, {}), undefined, 'it asks nobody');
  t.equal(
    url('generic-oauth2-cc', { token_url: 'https://a.example:8443/t?x=1' }),
    'https://a.example:8443/t?x=1',
  );
  for (const token_url of [
    'http://a.example/t',
    'https://user:pass@a.example/',
    'https://a.example/#x',
    'a.example',
    'file:///etc/passwd',
    'https://',
    '',
  ]) {
    t.throws(() => url('generic-oauth2-cc', { token_url }), refused, token_url);
  }
  t.throws(() => url('salesforce', { host: 'evil.example/@a.my.salesforce.com:x' }), refused);
});

t.test('what the exchange cannot do without is asked for when the credential is set', async (t) => {
  const service = fromCatalog('google-oauth');
  const exchange = exchangeOf(service);
  t.same(exchange && exchangeNeeds(service, exchange), ['refresh_token']);
  const fields = { client_id: 'x' };
  t.throws(() => compileInjection(service, fields, ['client_secret']), /refresh_token no token can be had/);
  t.same(compileInjection(service, fields, ['client_secret', 'refresh_token']), [
    { in: 'header', name: 'Authorization', value: 'Bearer {access_token}' },
  ]);
  const generic = fromCatalog('generic-oauth2-cc');
  t.throws(
    () => compileInjection(generic, { client_id: 'x', host: 'a.example', token_url: 'http://a.example' }),
    refused,
  );
});

t.test("a service of the user's own may have any of them", async (t) => {
  const own = (auth: object, fields: object[]) =>
    exchangeOf(parseService({ id: 'own', hosts: [{ pattern: 'own.example' }], auth, fields }));
  const inject = [{ in: 'header', name: 'Authorization', value: 'Bearer {access_token}' }];
  const client = [{ key: 'client_id', secret: false }, { key: 'client_secret' }];
  const oauth2 = { token_url: 'https://own.example/token', grant: 'client_credentials' };
  t.match(own({ inject, oauth2 }, client), { kind: 'grant', client: ['basic'] }, 'Basic unless told');
  const jwt = { ...oauth2, grant: 'jwt_bearer' };
  t.match(own({ inject, oauth2: jwt }, [{ key: 'private_key' }]), { kind: 'jwt-bearer', key: 'private_key' });
  t.equal(own({ inject, oauth2: jwt }, client), null, 'without a key there is none');
  t.equal(own({ inject, oauth2 }, [{ key: 'client_secret' }]), null, 'nor without a client');
  t.equal(own({ inject, oauth2: { ...oauth2, grant: 'password' } }, client), null);
  const declared = [{ in: 'header', name: 'X', value: '{access_token}' }];
  t.equal(own({ inject: declared }, [{ key: 'access_token' }]), null, 'a field of that name is a field');
});

t.test('a certificate is issued where the definition says so, and shown by the connection', async (t) => {
  const inject = (then: object) => ({ in: 'exchange', flow: 'x509', then });
  const service = (value: string, scheme = 'client_certificate') =>
    parseService({
      id: 'mutual',
      hosts: [{ pattern: 'mutual.example' }],
      auth: { scheme, inject: [inject({ in: 'client_certificate', value })] },
      fields: [{ key: 'private_key' }, { key: 'common_name', secret: false, optional: true }],
    });
  const issuing = service('{issued_certificate}');
  t.same(exchangeOf(issuing), {
    kind: 'client-certificate',
    token: 'issued_certificate',
    key: 'private_key',
  });
  t.same(compileInjection(issuing, {}), [{ in: 'client_certificate', value: '{issued_certificate}' }]);
  t.same(
    compileInjection(service('{issued_certificate}', 'x'), {}),
    [{ in: 'unsupported', kind: 'exchange' }],
    'of a scheme that issues none',
  );
  t.throws(() => service('{issued}'), { code: 'invalid_service' });
});
