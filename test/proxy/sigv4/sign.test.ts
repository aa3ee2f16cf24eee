import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { z } from 'zod';
import { RequestReader } from '../../../src/proxy/http/request.ts';
import { canonicalPath, canonicalQuery } from '../../../src/proxy/sigv4/canonical.ts';
import { sign } from '../../../src/proxy/sigv4/sign.ts';
import { parseSettings } from '../../../src/settings.ts';
import { deriveSigningKey } from '../../../src/vault/credentials/derive-signing-key.ts';

interface Case {
  readonly service: string;
  readonly region: string;
  readonly method: string;
  readonly host: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly token?: string | null;
}

const EMPTY = createHash('sha256').digest('hex');

function headOf({ method, host, target, headers }: Case) {
  const fields = Object.entries({ host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  const reader = new RequestReader(parseSettings({}).limits);
  reader.read(Buffer.from(`${method} ${target} HTTP/1.1\r\n${fields.join('')}\r\n`, 'latin1'), 0);
  return reader.head;
}

function signed(of: Case, key: { id: string; secret: string }, date: string): string {
  const { service, region, headers, body, token } = of;
  const scope = { service, region };
  const result = sign({
    head: headOf(of),
    authority: of.host,
    scope,
    payload: headers['x-amz-content-sha256'] ?? createHash('sha256').update(body).digest('hex'),
    sayPayload: false,
    presigned: false,
    accessKeyId: key.id,
    signingKey: deriveSigningKey(Buffer.from(key.secret), { day: date.slice(0, 8), ...scope }),
    sessionToken: token ? Buffer.from(token) : undefined,
    date,
  });
  return /^Authorization: (.*)\r$/m.exec(result.lines)?.[1] ?? '';
}

const Table = z.object({
  accessKeyId: z.string(),
  secretAccessKey: z.string(),
  date: z.string(),
  requests: z.array(
    z.object({
      service: z.string(),
      region: z.string(),
      method: z.string(),
      host: z.string(),
      target: z.string(),
      headers: z.record(z.string(), z.string()),
      body: z.string(),
      token: z.string().nullable(),
      authorization: z.string(),
    }),
  ),
});

t.test('signs as botocore does', async (t) => {
  const file = new URL('botocore.json', import.meta.url);
  const {
    accessKeyId: id,
    secretAccessKey: secret,
    date,
    requests,
  } = Table.parse(JSON.parse(readFileSync(file, 'utf8')));
  for (const each of requests) {
    t.equal(
      signed(each, { id, secret }, date),
      each.authorization,
      `${each.service} ${each.method} ${each.target}`,
    );
  }
});

/** AWS's test suite: "aws-sig-v4-test-suite", by name. */
const SUITE: [
  name: string,
  method: string,
  target: string,
  headers: Record<string, string>,
  signature: string,
][] = [
  ['get-vanilla', 'GET', '/', {}, '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31'],
  [
    'get-relative',
    'GET',
    '/example/..',
    {},
    '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31',
  ],
  ['get-slash', 'GET', '//', {}, '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31'],
  [
    'get-slash-dot-slash',
    'GET',
    '/./',
    {},
    '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31',
  ],
  [
    'get-unreserved',
    'GET',
    '/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz',
    {},
    '07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f',
  ],
  [
    'get-vanilla-query-order-key-case',
    'GET',
    '/?Param2=value2&Param1=value1',
    {},
    'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500',
  ],
  ['post-vanilla', 'POST', '/', {}, '5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b'],
];

t.test("signs as AWS's test suite asks", async (t) => {
  const key = { id: 'AKIDEXAMPLE', secret: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };
  for (const [name, method, target, headers, signature] of SUITE) {
    const request = { service: 'service', region: 'us-east-1', host: 'example.amazonaws.com', body: '' };
    const said = signed({ ...request, method, target, headers }, key, '20150830T123600Z');
    t.equal(/Signature=(\w+)$/.exec(said)?.[1], signature, name);
  }
});

t.test("signs as the examples of S3's manual do", async (t) => {
  const key = { id: 'AKIAIOSFODNN7EXAMPLE', secret: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' };
  const examples: [target: string, headers: Record<string, string>, signature: string][] = [
    ['/test.txt', { range: 'bytes=0-9' }, 'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41'],
    ['/?lifecycle', {}, 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543'],
    ['/?max-keys=2&prefix=J', {}, '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7'],
  ];
  for (const [target, headers, signature] of examples) {
    const all = { ...headers, 'x-amz-content-sha256': EMPTY };
    const request = { service: 's3', region: 'us-east-1', host: 'examplebucket.s3.amazonaws.com', body: '' };
    const said = signed({ ...request, method: 'GET', target, headers: all }, key, '20130524T000000Z');
    t.equal(/Signature=(\w+)$/.exec(said)?.[1], signature, target);
  }
});

t.test('what is canonical stays as it is, whatever order and encoding it came in', async () => {
  const text = fc.string({ unit: 'binary', maxLength: 12 });
  const encode = (of: string): string =>
    encodeURIComponent(of).replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  await fc.assert(
    fc.property(
      fc.array(fc.tuple(text, text), { maxLength: 6 }),
      fc.array(text, { maxLength: 5 }),
      (pairs, segments) => {
        const query = pairs.map(([name, value]) => `${encode(name)}=${encode(value)}`);
        const canonical = canonicalQuery(query.filter((pair) => pair !== '=').join('&'));
        const path = `/${segments.map(encode).join('/')}`;
        return (
          canonicalQuery(canonical) === canonical &&
          canonicalQuery(canonical.split('&').reverse().join('&')) === canonical &&
          canonicalPath(path, true) === path &&
          canonicalPath(canonicalPath(path, true), true) === path
        );
      },
    ),
    { numRuns: 500 },
  );
});

t.test('any target makes one line of ASCII', async () => {
  const target = fc.string({
    unit: fc.integer({ min: 0x21, max: 0xff }).map((byte) => String.fromCharCode(byte)),
  });
  await fc.assert(
    fc.property(target, fc.boolean(), (of, once) => {
      return (
        /^\/[!-~]*$/.test(canonicalPath(`/${of.replaceAll('?', '')}`, once)) &&
        /^[!-~]*$/.test(canonicalQuery(of))
      );
    }),
    { numRuns: 500 },
  );
});
