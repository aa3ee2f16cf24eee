import fc from 'fast-check';
import t from 'tap';
import type { Injection } from '../../../src/channel/messages/policy.ts';
import { base64Length, writeBase64 } from '../../../src/proxy/injection/base64.ts';
import { compileInjection } from '../../../src/proxy/injection/registry.ts';

type Values = Record<string, string | Buffer>;

const fieldsOf = (values: Values) =>
  new Map(Object.entries(values).map(([name, value]) => [name, { value: Buffer.from(value), secret: true }]));

/** The lines written, between guard bytes that must stay. */
function write(injections: Injection[], values: Values): string {
  const compiled = compileInjection(injections);
  const fields = fieldsOf(values);
  const length = compiled.length(fields);
  const out = Buffer.alloc(length + 2, '#');
  const end = compiled.write(out, 1, fields);
  if (end !== 1 + length || out[0] !== 0x23 || out[end] !== 0x23) throw new Error('wrote beyond its length');
  return out.toString('latin1', 1, end);
}

const header = (name: string, value: string): Injection => ({ in: 'header', name, value });
const basic = (username: string, password: string): Injection => ({ in: 'basic', username, password });

t.test('writes header templates', async (t) => {
  t.equal(
    write([header('Authorization', 'Bearer {token}')], { token: 'abc' }),
    'Authorization: Bearer abc\r\n',
  );
  t.equal(write([header('X', '{a}:{b}{a}')], { a: '1', b: '2' }), 'X: 1:21\r\n');
  t.equal(
    write([header('X', 'Token token={t}')], { t: 'é' }),
    `X: Token token=${Buffer.from('é').toString('latin1')}\r\n`,
  );
  t.equal(write([header('X', 'PROGRAMMATIC')], {}), 'X: PROGRAMMATIC\r\n');
  t.equal(write([header('X', 'a{B}c{')], {}), 'X: a{B}c{\r\n');
  t.equal(
    write([header('DD-API-KEY', '{a}'), header('DD-APPLICATION-KEY', '{b}')], { a: '1', b: '2' }),
    'DD-API-KEY: 1\r\nDD-APPLICATION-KEY: 2\r\n',
  );
});

t.test('writes Basic as RFC 7617 has it', async (t) => {
  t.equal(
    write([basic('{user}', '{password}')], { user: 'Aladdin', password: 'open sesame' }),
    'Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n',
  );
  t.equal(
    write([basic('{email}/token', '{token}')], { email: 'a@b.c', token: 't:t' }),
    `Authorization: Basic ${Buffer.from('a@b.c/token:t:t').toString('base64')}\r\n`,
  );
  t.equal(write([basic('', '{token}')], { token: '' }), 'Authorization: Basic Og==\r\n');
});

t.test('encodes base64 like Node, however the bytes are cut', async () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 12 }), { maxLength: 6 }), (arrays) => {
      const pieces = arrays.map((array) => Buffer.from(array));
      const expected = Buffer.concat(pieces).toString('base64');
      const out = Buffer.alloc(expected.length);
      const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
      if (base64Length(length) !== expected.length) throw new Error('length');
      if (writeBase64(out, 0, pieces) !== expected.length) throw new Error('end');
      if (out.toString('latin1') !== expected) throw new Error(out.toString('latin1'));
    }),
    { numRuns: 3000 },
  );
});

t.test('a field that is absent, or could not stand in a line, is refused and not shown', async (t) => {
  t.throws(() => write([header('X', '{token}')], { other: 'x' }), {
    code: 'credential_missing',
    message: /"token"/,
  });
  for (const byte of [0x00, 0x09, 0x0a, 0x0d, 0x1f, 0x7f]) {
    const token = Buffer.from([0x73, 0x33, 0x63, byte, 0x78]);
    for (const injection of [header('X', '{token}'), basic('u', '{token}'), basic('{token}', 'p')]) {
      t.throws(() => write([injection], { token }), {
        code: 'credential_missing',
        message: /^(?!.*s3c).*control byte/,
      });
    }
  }
  t.throws(() => write([basic('{user}', '{p}')], { user: 'a:b', p: 'x' }), {
    code: 'credential_missing',
    message: /colon/,
  });
});

t.test('what it cannot do is refused when it is used', async (t) => {
  const cases: Injection[][] = [
    [{ in: 'unsupported', kind: 'query' }],
    [header('X-Key', '{token}'), { in: 'unsupported', kind: 'sign' }],
    [header('Transfer-Encoding', '{token}')],
    [header('Proxy_Authorization', '{token}')],
    [header('X Key', '{token}')],
    [header('X-Key\r\nY', '{token}')],
    [header('X-Key', 'a\r\nY: {token}')],
    [header('X-Api-Key', '{token}'), header('x_api_key', '{token}')],
    [header('authorization', '{token}'), basic('u', '{token}')],
  ];
  for (const injections of cases) {
    const compiled = compileInjection(injections);
    const fields = fieldsOf({ token: 'abc' });
    t.throws(() => compiled.length(fields), { code: 'injection_unsupported' }, JSON.stringify(injections));
    t.throws(() => compiled.write(Buffer.alloc(100), 0, fields), { code: 'injection_unsupported' });
    t.throws(() => compiled.scrubTargets(fields), { code: 'injection_unsupported' });
  }
});

t.test('names what it sets, and compiles a rule once', async (t) => {
  const injections = [header('X-API-Key', '{a}'), basic('u', '{b}')];
  t.same(compileInjection(injections).names, ['x-api-key', 'authorization']);
  t.equal(compileInjection(injections), compileInjection(injections));
});

t.test('gives the encoded form to scrub for, where there is one', async (t) => {
  const fields = fieldsOf({ user: 'Aladdin', password: 'open sesame' });
  const targets = compileInjection([header('X', '{password}'), basic('{user}', '{password}')]).scrubTargets(
    fields,
  );
  t.same(targets.map(String), ['QWxhZGRpbjpvcGVuIHNlc2FtZQ']);
});
