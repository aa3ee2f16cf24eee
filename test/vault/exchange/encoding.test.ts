import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { exchangeOf, exchangeUrl } from '../../../src/catalog/exchange.ts';
import { parseService } from '../../../src/catalog/service.ts';
import { SallyportError } from '../../../src/errors.ts';
import { base64, base64url } from '../../../src/vault/exchange/base64.ts';
import { signJwt } from '../../../src/vault/exchange/jwt.ts';
import { pem as pemText } from '../../../src/vault/exchange/pem.ts';
import { pemKey, readServiceAccount, unescapedPem } from '../../../src/vault/exchange/private-key.ts';
import { refusal } from '../../../src/vault/exchange/refusal.ts';

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));

t.test('base64url and base64 are those of RFC 4648', async () => {
  fc.assert(
    fc.property(
      bytes,
      (input) =>
        base64url(input).toString('latin1') === input.toString('base64url') &&
        base64(input).toString('latin1') === input.toString('base64'),
    ),
    { numRuns: 1_000 },
  );
});

t.test('PEM is that of RFC 7468', async () => {
  fc.assert(
    fc.property(bytes, (input) => {
      const lines = input.toString('base64').match(/.{1,64}/g) ?? [];
      const expected = ['-----BEGIN SOME KEY-----', ...lines, '-----END SOME KEY-----', ''].join('\n');
      return pemText('SOME KEY', input).toString('latin1') === expected;
    }),
    { numRuns: 1_000 },
  );
});

t.test('a JWT of any claims verifies, and says what was claimed', async (t) => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  for (const [{ privateKey, publicKey }, algorithm, numRuns] of [
    [rsa, 'RS256', 20],
    [ec, 'ES256', 200],
  ] as const) {
    const pem = Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const key = createPublicKey(publicKey.export({ type: 'spki', format: 'pem' }));
    const claims = fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer()));
    await fc.assert(
      fc.asyncProperty(claims, fc.string(), async (given, kid) => {
        const jwt = (await signJwt({ kid }, given, pemKey(pem, algorithm))).toString('latin1');
        const [header = '', payload = '', signature = '', ...more] = jwt.split('.');
        const read = (part: string) => JSON.stringify(JSON.parse(Buffer.from(part, 'base64url').toString()));
        return (
          more.length === 0 &&
          verify(
            'sha256',
            Buffer.from(`${header}.${payload}`),
            { key, dsaEncoding: 'ieee-p1363' },
            Buffer.from(signature, 'base64url'),
          ) &&
          read(payload) === JSON.stringify(given) &&
          read(header) === JSON.stringify({ alg: algorithm, typ: 'JWT', kid })
        );
      }),
      { numRuns },
    );
  }
  t.pass('both');
});

t.test('line ends that were written out in JSON are read, and nothing else is changed', async () => {
  const text = fc.stringMatching(/^[ -~\n]{0,100}$/);
  fc.assert(
    fc.property(
      text,
      (input) => unescapedPem(Buffer.from(input)).toString() === input.replaceAll('\\n', '\n'),
    ),
    { numRuns: 1_000 },
  );
});

t.test('what is given for a key file is one, or is refused without being quoted', async () => {
  const file = fc.oneof(
    bytes,
    fc
      .dictionary(fc.constantFrom('private_key', 'client_email', 'private_key_id', '__proto__'), fc.string())
      .map((json) => Buffer.from(JSON.stringify(json))),
  );
  fc.assert(
    fc.property(file, (input) => {
      const before = Buffer.from(input);
      try {
        const { pem, email } = readServiceAccount(input);
        const json: unknown = JSON.parse(before.toString());
        const { private_key, client_email } = Object(json);
        return (
          pem.toString() === private_key && email === client_email && email !== '' && input.equals(before)
        );
      } catch (error) {
        return (
          error instanceof SallyportError && /not the JSON file of a service account/.test(error.message)
        );
      }
    }),
    { numRuns: 2_000 },
  );
});

t.test('no value of a field leads the credential to another server', async () => {
  const service = parseService({
    id: 'tenants',
    hosts: [{ pattern: 'api.tenants.test' }],
    auth: {
      inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {access_token}' }],
      oauth2: { token_url: 'https://login.tenants.test/{tenant}/token', grant: 'client_credentials' },
    },
    fields: [{ key: 'tenant', secret: false }, { key: 'client_id', secret: false }, { key: 'client_secret' }],
  });
  const exchange = exchangeOf(service);
  if (!exchange) throw new Error('it has no exchange');
  const hostile = fc.stringMatching(/^[a-z0-9./\\@:?#%&=*~ \t-]{1,40}$/);
  fc.assert(
    fc.property(fc.oneof(hostile, fc.string({ minLength: 1 })), (tenant) => {
      try {
        const url = exchangeUrl(service, exchange, { tenant });
        return (
          url?.origin === 'https://login.tenants.test' && url.search === '' && url.pathname.endsWith('/token')
        );
      } catch (error) {
        return error instanceof SallyportError && error.code === 'invalid_credential';
      }
    }),
    { numRuns: 3_000 },
  );
});

t.test('a refusal says what the owner has to do', async (t) => {
  const cases = [
    ['grant', 'invalid_grant', /has expired or was revoked there.*authorize it anew/],
    ['jwt-bearer', 'invalid_grant', /key is not registered.*clock/],
    ['grant', 'invalid_client', /is not accepted there.*set it again/],
    ['grant', 'invalid_scope', /correct the scopes/],
    ['login', null, /\(status 403\).*not accepted/],
  ] as const;
  for (const [kind, error, message] of cases) {
    const { code, message: said } = refusal('acme', kind, { status: 403, error });
    t.equal(code, 'exchange_refused');
    t.match(said, message);
    t.match(said, /^acme gives no token \([^)]+\), so nothing was sent: [^\n]+\.$/);
  }
});
