import fc from 'fast-check';
import t from 'tap';
import { catalogService } from '../../src/catalog/catalog.ts';
import { compileHosts, compileInjection, compileTargets } from '../../src/catalog/rule.ts';
import { parseService, type Service } from '../../src/catalog/service.ts';
import { SallyportError } from '../../src/errors.ts';

function fromCatalog(id: string): Service {
  const service = catalogService(id);
  if (service === undefined) throw new Error(`no service ${id}`);
  return service;
}

const patterns = (service: Service, fields: Record<string, string>): string[] =>
  compileHosts(service, fields).map(({ pattern, port }) => (port === 443 ? pattern : `${pattern}:${port}`));

const refused = { code: 'invalid_credential' };

t.test('{host} is filled from the credential, with its port', async (t) => {
  const service = fromCatalog('generic-bearer');
  t.same(patterns(service, { host: 'API.Example' }), ['api.example']);
  t.same(patterns(service, { host: 'api.example:8443' }), ['api.example:8443']);
  t.same(patterns(service, { host: '[::1]:8443' }), ['::1:8443']);
  for (const host of [
    '',
    'a b',
    '*.example.com',
    '**.example.com',
    'https://a.example',
    'a.example/x',
    'a.example:99999',
  ]) {
    t.throws(() => compileHosts(service, { host }), refused, host);
  }
  t.throws(() => compileHosts(service, {}), refused);
  t.throws(
    () => compileHosts(service, Object.create({ host: 'a.example' })),
    refused,
    'inherited is not given',
  );
});

t.test('a wildcard is pinned to the one tenant that the credential belongs to', async (t) => {
  t.same(patterns(fromCatalog('jira'), { email: 'a@b.c', host: 'Acme.atlassian.net' }), [
    'acme.atlassian.net',
  ]);
  t.same(patterns(fromCatalog('azure-openai'), { resource_host: 'my-res.openai.azure.com' }), [
    'my-res.openai.azure.com',
  ]);
  t.same(patterns(fromCatalog('supabase-project'), { project_host: 'abcd.supabase.co' }), [
    'abcd.supabase.co',
  ]);
  t.same(patterns(fromCatalog('shopify'), { shop_host: 'my-shop.myshopify.com' }), ['my-shop.myshopify.com']);
  t.same(patterns(fromCatalog('azure-devops'), { organization: 'acme' }), [
    'dev.azure.com',
    'acme.visualstudio.com',
  ]);
  t.same(patterns(fromCatalog('datadog'), { site: 'us1' }), [
    'api.datadoghq.com',
    '*.datadoghq.com',
    '*.datadoghq.eu',
    '*.ddog-gov.com',
  ]);
  t.same(patterns(fromCatalog('datadog'), { site: 'api.datadoghq.eu' }), [
    'api.datadoghq.com',
    'api.datadoghq.eu',
  ]);
});

t.test('a host that is not under the wildcard is refused, not obeyed', async (t) => {
  for (const host of [
    'evil.example',
    'atlassian.net',
    'a.b.atlassian.net',
    '*.atlassian.net',
    'xatlassian.net',
    '',
  ]) {
    t.throws(() => compileHosts(fromCatalog('jira'), { email: 'a@b.c', host }), refused, host);
  }
  t.throws(() => compileHosts(fromCatalog('jira'), { email: 'a@b.c' }), refused);
});

t.test('whatever the fields hold, a pinned service yields only hosts under its own names', async () => {
  const value = fc.oneof(
    fc.domain(),
    fc.string(),
    fc.domain().map((name) => `${name}.atlassian.net`),
    fc.ipV4(),
  );
  fc.assert(
    fc.property(value, value, (host, email) => {
      try {
        const hosts = compileHosts(fromCatalog('jira'), { host, email });
        return hosts.every(({ pattern }) => /^[a-z0-9_-]+\.atlassian\.net$/.test(pattern));
      } catch (error) {
        return error instanceof SallyportError && error.code === 'invalid_credential';
      }
    }),
    { numRuns: 1000 },
  );
});

t.test('a field within a name stays within that name', async (t) => {
  const service = parseService({
    id: 'acme',
    hosts: [{ pattern: '{dc}.api.acme.example:8443' }],
    auth: { inject: [{ in: 'header', name: 'X-Key', value: '{key}' }] },
    fields: [{ key: 'key' }, { key: 'dc', secret: false }],
  });
  t.same(patterns(service, { dc: 'EU1' }), ['eu1.api.acme.example:8443']);
  for (const dc of ['evil.example/', 'evil.example#', 'evil.example:443', '*', 'a@', '', ' ', '[::1]']) {
    t.throws(() => compileHosts(service, { dc }), refused, dc);
  }
});

t.test('entries for one host become one, with all of their paths', async (t) => {
  const google = compileHosts(fromCatalog('google-oauth'), { client_id: 'x' });
  t.same(
    google.filter(({ pattern }) => pattern === 'www.googleapis.com').map(({ paths }) => paths),
    [['/calendar/', '/drive/', '/upload/drive/', '/gmail/', '/batch/']],
  );
  const service = parseService({
    id: 'acme',
    hosts: [
      { pattern: 'a.example', path_prefix: '/x/' },
      { pattern: 'A.example' },
      { pattern: 'a.example', path_prefix: '/y/' },
      { pattern: 'a.example:8443', path_prefix: '/*.git/* and /*/info/refs' },
    ],
    auth: { inject: [{ in: 'header', name: 'X-Key', value: '{key}' }] },
    fields: [{ key: 'key' }],
  });
  t.same(compileHosts(service, {}), [
    { pattern: 'a.example', port: 443, paths: [] },
    { pattern: 'a.example', port: 8443, paths: ['/*.git/*', '/*/info/refs'] },
  ]);
});

t.test('injections keep their placeholders; header names are filled in', async (t) => {
  t.same(compileInjection(fromCatalog('openai'), {}), [
    { in: 'header', name: 'Authorization', value: 'Bearer {api_key}' },
  ]);
  t.same(compileInjection(fromCatalog('zendesk'), { email: 'a@b.c', host: 'x.zendesk.com' }), [
    { in: 'basic', username: '{email}/token', password: '{token}' },
  ]);
  const generic = fromCatalog('generic-header');
  t.same(compileInjection(generic, { header_name: 'X-Key', host: 'a.example', prefix: 'Key ' }), [
    { in: 'header', name: 'X-Key', value: '{prefix}{value}' },
  ]);
  t.same(compileInjection(generic, { header_name: 'X-Key', host: 'a.example' }), [
    { in: 'header', name: 'X-Key', value: '{value}' },
  ]);
  for (const name of ['Host', 'X Key', 'X-Key\r\nHost', 'Transfer_Encoding', 'proxy-authorization', 'é']) {
    t.throws(() => compileInjection(generic, { header_name: name, host: 'a.example' }), refused, name);
  }
});

t.test('an optional secret that the credential lacks leaves its header out', async (t) => {
  const datadog = fromCatalog('datadog');
  const names = (secrets?: string[]) =>
    compileInjection(datadog, { site: 'us1' }, secrets).map(
      (inject) => inject.in === 'header' && inject.name,
    );
  t.same(names(), ['DD-API-KEY', 'DD-APPLICATION-KEY']);
  t.same(names(['api_key', 'app_key']), ['DD-API-KEY', 'DD-APPLICATION-KEY']);
  t.same(names(['api_key']), ['DD-API-KEY']);
  t.throws(() => names(['app_key']), refused, 'a required one may not be absent');
  t.same(compileInjection(fromCatalog('generic-basic'), { username: 'me', host: 'a.example' }, []), [
    { in: 'basic', username: '{username}', password: '' },
  ]);
});

t.test('public values cannot break out of the place where they are written', async (t) => {
  const basic = fromCatalog('generic-basic');
  for (const username of ['a:b', 'a\r\nX: y', 'a\u0000']) {
    t.throws(
      () => compileInjection(basic, { username, host: 'a.example' }),
      refused,
      JSON.stringify(username),
    );
  }
  const algolia = fromCatalog('algolia');
  t.throws(() => compileInjection(algolia, { app_id: 'A\nB' }), refused);
});

t.test('AWS requests are signed', async (t) => {
  const aws = fromCatalog('aws');
  t.same(compileInjection(aws, { access_key_id: 'AKIA' }), [
    { in: 'sigv4', placeholder: 'AKIAVAULTPLACEHOLDER' },
  ]);
  t.throws(() => compileInjection(aws, { access_key_id: 'a, b' }), refused);
  t.throws(() => compileInjection(aws, {}), refused);
});

t.test('kinds that this version cannot perform are named, not dropped', async (t) => {
  const kind = (id: string, fields: Record<string, string> = {}) =>
    compileInjection(fromCatalog(id), fields)[0];
  t.same(kind('serpapi'), { in: 'unsupported', kind: 'query' });
  t.same(kind('slack-webhook'), { in: 'unsupported', kind: 'path' });
  t.same(kind('aws-assume-role', { role_arn: 'a', region: 'r' }), { in: 'unsupported', kind: 'exchange' });
  t.same(kind('linkedin', { client_id: 'x' }), { in: 'unsupported', kind: 'oauth2' });
  t.same(kind('slack'), { in: 'header', name: 'Authorization', value: 'Bearer {token}' });
});

t.test('a host with a way of its own becomes a target of its own', async (t) => {
  const [api, git, ...more] = compileTargets(fromCatalog('github'), {});
  t.notOk(api?.hosts.some(({ pattern }) => pattern === 'github.com'));
  t.match(api?.inject, [{ in: 'header', value: 'Bearer {token}' }]);
  t.same(git?.hosts, [{ pattern: 'github.com', port: 443, paths: ['/*.git/*', '/*/info/refs'] }]);
  t.same(git?.inject, [{ in: 'basic', username: 'x-access-token', password: '{token}' }]);
  t.same(more, []);
  t.equal(compileTargets(fromCatalog('openai'), {}).length, 1);
});
