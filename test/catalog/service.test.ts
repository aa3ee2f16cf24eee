import fc from 'fast-check';
import t from 'tap';
import { parseService, parseServices } from '../../src/catalog/service.ts';
import { SallyportError } from '../../src/errors.ts';

const acme = {
  id: 'acme',
  hosts: [{ pattern: 'api.acme.example' }],
  auth: { inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }] },
  fields: [{ key: 'token' }],
};

function refusal(json: unknown): string {
  try {
    parseServices(JSON.stringify(json));
    return 'accepted';
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'invalid_service') throw error;
    return error.message;
  }
}

t.test('what may be left out gets a sensible value', async (t) => {
  const service = parseService(acme);
  t.match(service, {
    name: 'acme',
    category: 'other',
    auth: { scheme: 'header', oauth2: null },
    hosts: [{ pattern: 'api.acme.example', path_prefix: null, port: 443 }],
    fields: [{ key: 'token', label: 'token', secret: true, optional: false, pattern: null }],
    test: null,
    env_hints: [],
    alternatives: [],
  });
});

t.test('limits are the service’s own where it says so, in bounds', async (t) => {
  const limits = { body_bytes: 1, connect_timeout_ms: 100, idle_timeout_ms: 604_800_000 };
  t.same(parseService({ ...acme, limits }).limits, {
    ...limits,
    head_timeout_ms: null,
    total_timeout_ms: null,
  });
  for (const wrong of [{ head_timeout_ms: 99 }, { total_timeout_ms: 604_800_001 }, { idle_timeout: 1_000 }]) {
    t.throws(() => parseService({ ...acme, limits: wrong }), { code: 'invalid_service', message: /limits/ });
  }
});

t.test('one service, a list and a whole document are read alike', async (t) => {
  const other = { ...acme, id: 'other' };
  t.same(parseServices(JSON.stringify(acme)), [parseService(acme)]);
  t.same(parseServices(JSON.stringify([acme, other])), [parseService(acme), parseService(other)]);
  const document = { schema_version: 1, about: 'ours', count: 2, services: [acme, other] };
  t.same(parseServices(JSON.stringify(document)), [parseService(acme), parseService(other)]);
});

t.test('hosts are kept in one spelling, with their port', async (t) => {
  const host = (pattern: string, port?: number): unknown =>
    parseService({ ...acme, hosts: [port === undefined ? { pattern } : { pattern, port }] }).hosts[0];
  t.match(host('API.Acme.Example.'), { pattern: 'api.acme.example', port: 443 });
  t.match(host('bücher.example:8443'), { pattern: 'xn--bcher-kva.example', port: 8443 });
  t.match(host('api.acme.example', 8443), { pattern: 'api.acme.example', port: 8443 });
  t.match(host('*.acme.example:8443', 8443), { pattern: '*.acme.example', port: 8443 });
  t.match(host('**.Acme.example'), { pattern: '**.acme.example', port: 443 });
  t.match(host('127.0.0.1:9443'), { pattern: '127.0.0.1', port: 9443 });
  t.match(host('[2001:DB8:0::1]:9443'), { pattern: '2001:db8::1', port: 9443 });
  t.match(host('2001:db8::1'), { pattern: '2001:db8::1', port: 443 });
});

t.test('a refusal names the service, the key and the fault', async (t) => {
  const withHost = (host: unknown) => ({ ...acme, hosts: [host] });
  const withInject = (inject: unknown) => ({ ...acme, auth: { inject: [inject] } });
  const header = (name: string, value = '{token}') => withInject({ in: 'header', name, value });
  const fields = [
    { key: 'token' },
    { key: 'where', secret: false },
    { key: 'maybe', secret: false, optional: true },
  ];
  const certificate = { in: 'client_certificate', value: '{token}' };
  const cases: [unknown, RegExp][] = [
    [[acme, withHost({ pattern: 'a b' })], /services\[1\]\.hosts\[0\]\.pattern: "a b" is no host/],
    [{ services: [withHost({ pattern: '*.com' })] }, /services\[0\]\.hosts\[0\]\.pattern/],
    [withHost({ pattern: '*' }), /hosts\[0\]\.pattern/],
    [withHost({ pattern: '***.acme.example' }), /hosts\[0\]\.pattern/],
    [withHost({ pattern: 'a.*.example' }), /hosts\[0\]\.pattern/],
    [withHost({ pattern: '*.10.0.0.1' }), /hosts\[0\]\.pattern/],
    [withHost({ pattern: 'https://api.acme.example' }), /hosts\[0\]\.pattern/],
    [withHost({ pattern: 'api.acme.example/v1' }), /hosts\[0\]\.pattern/],
    [withHost({ pattern: 'api%2eacme.example' }), /hosts\[0\]\.pattern/],
    [withHost({ pattern: '0x7f.1' }), /hosts\[0\]\.pattern/],
    [withHost({ pattern: 'api.acme.example:0' }), /hosts\[0\]\.pattern/],
    [withHost({ pattern: 'api.acme.example:65536' }), /hosts\[0\]\.pattern/],
    [withHost({ pattern: 'api.acme.example:443', port: 444 }), /hosts\[0\]\.port/],
    [withHost({ pattern: 'api.acme.example', port: 0 }), /hosts\[0\]\.port/],
    [withHost({ pattern: '{where}' }), /hosts\[0\]\.pattern: \{where\} is not a declared field/],
    [{ ...withHost({ pattern: '{token}' }), fields }, /hosts\[0\]\.pattern: \{token\} is not/],
    [{ ...withHost({ pattern: '{maybe}' }), fields }, /hosts\[0\]\.pattern: \{maybe\} is not/],
    [
      withInject({ in: 'sign', algorithm: 'AWS4-HMAC-SHA256' }),
      /auth\.inject\[0\]\.algorithm: a signature needs the fields access_key_id/,
    ],
    ...['', 'x{token}', '{token}{token2}', 'pem'].map((value): [unknown, RegExp] => [
      withInject({ in: 'client_certificate', value }),
      /auth\.inject\[0\]\.value: it must be one \{field\}, a secret one/,
    ]),
    [
      { ...withInject({ in: 'client_certificate', value: '{where}' }), fields },
      /auth\.inject\[0\]\.value: it must be one \{field\}, a secret one/,
    ],
    [
      { ...withInject({ in: 'client_certificate', value: '{token}' }), plain_http: true },
      /plain_http: a client certificate is not shown over plain http/,
    ],
    [
      { ...acme, auth: { inject: [certificate, certificate] } },
      /auth\.inject: a client certificate is written twice/,
    ],
    [withHost({ pattern: 'api.acme.example', path_prefix: 'v1/' }), /hosts\[0\]\.path_prefix/],
    [withHost({ pattern: 'api.acme.example', path_prefix: '/a/../b' }), /hosts\[0\]\.path_prefix/],
    [withHost({ pattern: 'api.acme.example', path_prefix: '/a//b' }), /hosts\[0\]\.path_prefix/],
    [withHost({ pattern: 'api.acme.example', path_prefix: '/a?b' }), /hosts\[0\]\.path_prefix/],
    [withHost({ pattern: 'api.acme.example', path_prefix: '/a and b' }), /hosts\[0\]\.path_prefix/],
    [withHost({ patern: 'api.acme.example' }), /hosts\[0\]\.pattern: it is missing.*"patern"/],
    [{ ...acme, hosts: [] }, /hosts: name at least one host/],
    [{ ...acme, id: 'Acme' }, /id: use lower-case/],
    [{ ...acme, id: '-acme' }, /id: use lower-case/],
    [{ ...acme, hots: [] }, /"hots"/],
    [{ ...acme, auth: {} }, /auth\.inject: it is missing/],
    [withInject({ in: 'cookie', name: 'a', value: 'b' }), /auth\.inject\[0\]\.in/],
    [withInject({ in: 'header', name: 'X-Key', value: '{key}' }), /auth\.inject\[0\]\.value: \{key\} is not/],
    [header('X-Key', 'Bearer {access_token}'), /auth\.inject\[0\]\.value: \{access_token\} is not/],
    [header('X-Key', 'a {Token}'), /auth\.inject\[0\]\.value: it has a brace/],
    [header('X-Key', 'a\r\nB: {token}'), /auth\.inject\[0\]\.value: .*printable/],
    [header('X Key'), /auth\.inject\[0\]\.name: .*token/],
    [header(''), /auth\.inject\[0\]\.name/],
    [header('X-{token}'), /auth\.inject\[0\]\.name: \{token\} is not/],
    [
      withInject({ in: 'basic', username: 'a:b', password: '{token}' }),
      /auth\.inject\[0\]\.username: .*colon/,
    ],
    [{ ...acme, fields: [{ key: 'token' }, { key: 'token' }] }, /fields: two fields have one key/],
    [{ ...acme, fields: [{ key: 'Token' }] }, /fields\[0\]\.key/],
    [{ ...acme, fields: [{ key: 'token', pattern: '(' }] }, /fields\[0\]\.pattern: .*regular/],
    [
      { ...acme, alternatives: [{ scheme: 'basic', hosts: ['x.example'], inject: acme.auth.inject }] },
      /alternatives\[0\]\.hosts\[0\]/,
    ],
    [[acme, acme], /the id acme stands twice/],
    [[], /holds no service/],
    [null, /expected object/],
  ];
  for (const [json, message] of cases) t.match(refusal(json), message, JSON.stringify(json).slice(0, 120));
});

t.test('no credential is written over what frames or routes a message', async (t) => {
  const names = [
    'Host',
    'content-length',
    'Transfer-Encoding',
    'CONNECTION',
    'Upgrade',
    'TE',
    'Trailer',
    'Expect',
  ];
  const more = ['Keep-Alive', 'Proxy-Authorization', 'proxy-anything', 'Transfer_Encoding', 'HTTP2-Settings'];
  for (const name of [...names, ...more]) {
    const inject = [{ in: 'header', name, value: '{token}' }];
    t.match(refusal({ ...acme, auth: { inject } }), /auth\.inject\[0\]\.name: .*cannot carry/, name);
  }
});

t.test('one place gets one credential, whatever the spelling', async (t) => {
  const header = (name: string) => ({ in: 'header', name, value: '{token}' });
  const basic = { in: 'basic', username: 'me', password: '{token}' };
  for (const inject of [
    [header('X-Api-Key'), header('x_api_key')],
    [header('AUTHORIZATION'), basic],
    [basic, basic],
  ]) {
    t.match(refusal({ ...acme, auth: { inject } }), /written twice/);
  }
});

t.test('a file that is not JSON is refused without quoting it', async (t) => {
  for (const text of ['', 'sk-secret-value', '{"token": sk-secret}', '\u0000']) {
    t.throws(() => parseServices(text), { code: 'invalid_service', message: /not JSON/ });
  }
  t.throws(() => parseServices(`[${' '.repeat(9 * 1024 * 1024)}]`), {
    code: 'invalid_service',
    message: /8 MiB/,
  });
});

t.test('whatever a file holds, it is read or refused in one line', async () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[a-z*.{}:/-]{0,20}$/));
  const leaf = fc.oneof(text, fc.integer(), fc.boolean(), fc.constant(null));
  const inject = fc.record(
    {
      in: fc.constantFrom('header', 'basic', 'query', 'path', 'exchange', 'x'),
      name: text,
      value: text,
      username: text,
    },
    { requiredKeys: [] },
  );
  const service = fc.record(
    {
      id: fc.oneof(fc.constant('acme'), leaf),
      hosts: fc.array(
        fc.record({ pattern: text, port: leaf, path_prefix: leaf }, { requiredKeys: ['pattern'] }),
      ),
      auth: fc.oneof(fc.record({ inject: fc.array(inject) }), leaf),
      fields: fc.array(fc.record({ key: text, secret: leaf, pattern: leaf }, { requiredKeys: ['key'] })),
      notes: fc.oneof(fc.array(leaf), leaf),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(
      fc.oneof(service, fc.array(service), fc.record({ services: fc.array(service) }), fc.jsonValue()),
      (json) => {
        const message = refusal(json);
        return message.length < 20_000 && !/[\n\r]/.test(message);
      },
    ),
    { numRuns: 1000 },
  );
});
