import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { readPem } from '../../../certs/pem.ts';
import { canonicalHost } from '../../../src/catalog/host.ts';
import { SallyportError } from '../../../src/errors.ts';
import { signWith } from '../../../src/vault/authorities/certificate.ts';
import { agentRoot, createRoot } from '../../../src/vault/authorities/root.ts';
import { authority, workerKey } from './authority.ts';

const HOUR = 60 * 60 * 1000;
const DAY = 24 * HOUR;

function certificates(chainPem: Buffer): [X509Certificate, X509Certificate] {
  const [leaf, issuing, ...more] = readPem(chainPem.toString()).map((der) => new X509Certificate(der));
  if (!leaf || !issuing || more.length > 0) throw new Error('a chain is a leaf and its issuing authority');
  return [leaf, issuing];
}

const span = (certificate: X509Certificate): number =>
  certificate.validToDate.getTime() - certificate.validFromDate.getTime();

t.test('a root names its agent and lives two years', async (t) => {
  const { certificate, privateKey } = createRoot(
    agentRoot({ id: 'agt_0123456789abcdef', name: 'bücher' }, 1),
  );
  const root = new X509Certificate(certificate);
  t.equal(root.subject, 'CN=Sallyport agent bücher 89abcdef');
  t.equal(root.subject, root.issuer);
  t.ok(root.ca && root.verify(root.publicKey));
  t.equal(span(root), 730 * DAY - 1000);
  t.ok(root.validFromDate.getTime() < Date.now() - 4 * 60_000, 'and begins in the past, for slow clocks');
  t.not(createRoot(agentRoot({ id: 'a', name: 'b' }, 1)).privateKey.equals(privateKey), true);
  const long = new X509Certificate(
    createRoot(agentRoot({ id: 'agt_0123456789abcdef', name: 'é'.repeat(200) }, 1)).certificate,
  );
  t.equal([...long.subject.slice('CN='.length)].length, 64, 'a long name is cut to what X.520 allows');
});

t.test('a leaf is for the one host and the one key that were asked for', async (t) => {
  const { issuer, rootPem } = authority(['api.acme.example', '*.w.example', '127.0.0.1', '2001:db8::1']);
  const root = new X509Certificate(rootPem);
  for (const [host, name] of [
    ['api.acme.example', 'DNS:api.acme.example'],
    ['a.w.example', 'DNS:a.w.example'],
    ['127.0.0.1', 'IP Address:127.0.0.1'],
    ['2001:db8::1', 'IP Address:2001:DB8:0:0:0:0:0:1'],
  ] as const) {
    const { spki } = workerKey();
    const { chainPem, notAfter } = await issuer.leaf(host, spki);
    const [leaf, issuing] = certificates(chainPem);
    t.equal(leaf.subjectAltName, name);
    t.equal(leaf.subject, undefined, 'the subject is empty');
    t.same(leaf.publicKey.export({ type: 'spki', format: 'der' }), spki);
    t.notOk(leaf.ca);
    t.same(leaf.keyUsage, ['1.3.6.1.5.5.7.3.1'], 'server authentication alone');
    t.equal(span(leaf), DAY - 1000);
    t.equal(span(issuing), 7 * DAY - 1000);
    t.equal(notAfter, leaf.validToDate.getTime());
    t.ok(leaf.verify(issuing.publicKey) && issuing.verify(root.publicKey));
    t.ok(leaf.checkIssued(issuing) && issuing.checkIssued(root));
  }
  issuer.close();
});

t.test('hosts of every shape make certificates that parse, with serials of their own', async () => {
  const hosts = fc.oneof(
    fc.domain(),
    fc.ipV4(),
    fc.ipV6(),
    fc.stringMatching(/^[a-z0-9_]{1,63}\.x\.example$/),
  );
  const serials = new Set<string>();
  const { spki } = workerKey();
  let made = 0;
  await fc.assert(
    fc.asyncProperty(hosts, async (text) => {
      const host = canonicalHost(text);
      if (host === null) return true;
      const { issuer } = authority([host]);
      const [leaf] = certificates((await issuer.leaf(host, spki)).chainPem);
      issuer.close();
      made += 1;
      serials.add(leaf.serialNumber);
      const fits = leaf.checkHost(host) ?? leaf.checkIP(host);
      return fits !== undefined && leaf.serialNumber.length <= 32 && serials.size === made;
    }),
    { numRuns: 150 },
  );
});

t.test('a host that no grant covers gets no certificate', async (t) => {
  const { issuer } = authority(['api.acme.example', '*.w.example', '**.deep.example']);
  const { spki } = workerKey();
  for (const host of [
    'acme.example',
    'x.api.acme.example',
    'w.example',
    'a.b.w.example',
    'deep.example',
    'evil.example',
    'api.acme.example.',
    'API.acme.example',
    '*.w.example',
    '127.0.0.1',
    '::1',
    'api.acme.example\0.w.example',
    '',
  ]) {
    await t.rejects(issuer.leaf(host, spki), { code: 'policy_denied' }, JSON.stringify(host));
  }
  t.ok(await issuer.leaf('a.b.deep.example', spki));
  issuer.close();
});

t.test('only a P-256 point in its one encoding is certified', async (t) => {
  const { issuer } = authority(['api.acme.example']);
  const { spki } = workerKey();
  const changed = (at: number, to: number): Buffer => {
    const copy = Buffer.from(spki);
    copy[at] = to;
    return copy;
  };
  const other = (type: 'ec' | 'rsa' | 'ed25519'): Buffer => {
    const encoding = { publicKeyEncoding: { type: 'spki', format: 'der' } } as const;
    const pkcs8 = { privateKeyEncoding: { type: 'pkcs8', format: 'der' } } as const;
    if (type === 'ec')
      return generateKeyPairSync('ec', { namedCurve: 'secp256k1', ...encoding, ...pkcs8 }).publicKey;
    if (type === 'rsa')
      return generateKeyPairSync('rsa', { modulusLength: 2048, ...encoding, ...pkcs8 }).publicKey;
    return generateKeyPairSync('ed25519', { ...encoding, ...pkcs8 }).publicKey;
  };
  const keys: [string, Buffer][] = [
    ['empty', Buffer.alloc(0)],
    ['cut', spki.subarray(0, 90)],
    ['longer', Buffer.concat([spki, Buffer.alloc(1)])],
    ['off the curve', changed(90, (spki[90] ?? 0) ^ 1)],
    ['the point at infinity', Buffer.concat([spki.subarray(0, 27), Buffer.alloc(64)])],
    ['compressed', changed(26, 2)],
    ['another curve', other('ec')],
    ['RSA', other('rsa')],
    ['Ed25519', other('ed25519')],
  ];
  for (const [what, key] of keys)
    await t.rejects(issuer.leaf('api.acme.example', key), { code: 'bad_request' }, what);
  issuer.close();
});

t.test('any bytes in place of a key are refused', async () => {
  const { issuer } = authority(['api.acme.example']);
  const { spki } = workerKey();
  const flipped = fc.tuple(fc.nat(90), fc.integer({ min: 1, max: 255 })).map(([at, by]) => {
    const copy = Buffer.from(spki);
    copy[at] = (copy[at] ?? 0) ^ by;
    return copy;
  });
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        flipped,
        fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b)),
      ),
      async (key) => {
        try {
          await issuer.leaf('api.acme.example', key);
          return false;
        } catch (error) {
          return error instanceof SallyportError && error.code === 'bad_request';
        }
      },
    ),
    { numRuns: 300 },
  );
  issuer.close();
});

t.test('many askers at once get one issuing authority', async (t) => {
  const { issuer, signed } = authority(['*.w.example']);
  const { spki } = workerKey();
  const chains = await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      issuer.leaf(`h${i}.w.example`, spki).then(({ chainPem }) => chainPem),
    ),
  );
  t.equal(signed(), 1, "the root's key was used once");
  t.equal(new Set(chains.map((chain) => certificates(chain)[1].fingerprint256)).size, 1);
  t.equal(new Set(chains.map((chain) => certificates(chain)[0].serialNumber)).size, 40);
  issuer.close();
});

t.test('the issuing authority is replaced at half of its life', async (t) => {
  let now = Date.now();
  const { issuer, signed } = authority(['api.acme.example'], () => now);
  const { spki } = workerKey();
  const issuing = async (): Promise<string> =>
    certificates((await issuer.leaf('api.acme.example', spki)).chainPem)[1].fingerprint256;
  const first = await issuing();
  now += 3 * DAY;
  t.equal(await issuing(), first);
  now += 12 * HOUR;
  t.not(await issuing(), first);
  t.equal(signed(), 2);
  issuer.close();
});

t.test('nothing outlives its issuer, and after the root nothing is made', async (t) => {
  let now = Date.now() + 729 * DAY;
  const { issuer, rootPem } = authority(['api.acme.example'], () => now);
  const { spki } = workerKey();
  const end = new X509Certificate(rootPem).validToDate.getTime();
  now = end - 2 * HOUR;
  const { chainPem, notAfter } = await issuer.leaf('api.acme.example', spki);
  const [leaf, issuing] = certificates(chainPem);
  t.equal(issuing.validToDate.getTime(), end);
  t.equal(leaf.validToDate.getTime(), end);
  t.equal(notAfter, end);
  now = end;
  await t.rejects(issuer.leaf('api.acme.example', spki), { code: 'policy_denied', message: /expired/ });
  issuer.close();
});

t.test('a failure to get at the root key is passed on, and the next ask tries again', async (t) => {
  const root = createRoot(agentRoot({ id: 'a', name: 'b' }, 1));
  const { Issuer } = await import('../../../src/vault/authorities/issuer.ts');
  let failing = true;
  const issuer = new Issuer({
    root: {
      certificate: root.certificate,
      sign: async (message) => {
        if (failing) throw new SallyportError('hsm_unavailable', 'The HSM does not answer.');
        return signWith(root.privateKey, message);
      },
    },
    hosts: ['api.acme.example'],
  });
  const { spki } = workerKey();
  await t.rejects(issuer.leaf('api.acme.example', spki), { code: 'hsm_unavailable' });
  failing = false;
  t.ok(await issuer.leaf('api.acme.example', spki));
  issuer.close();
});

t.test('once closed it makes nothing more, also for those who wait', async (t) => {
  const { issuer } = authority(['api.acme.example']);
  const { spki } = workerKey();
  const waiting = issuer.leaf('api.acme.example', spki);
  issuer.close();
  await t.rejects(waiting, { code: 'vault_unavailable' });
  await t.rejects(issuer.leaf('api.acme.example', spki), { code: 'vault_unavailable' });
  issuer.close();

  const used = authority(['api.acme.example']).issuer;
  await used.leaf('api.acme.example', spki);
  const late = used.leaf('api.acme.example', spki);
  used.close();
  await t.rejects(late, { code: 'vault_unavailable' }, 'nor with a key that is wiped already');
});

t.test('a root that is no certificate is refused', async (t) => {
  const { Issuer } = await import('../../../src/vault/authorities/issuer.ts');
  const sign = () => Promise.reject(new Error('unused'));
  for (const certificate of [Buffer.alloc(0), createHash('sha256').digest()])
    t.throws(() => new Issuer({ root: { certificate, sign }, hosts: [] }));
});

t.test('minting takes about as long as a signature', async (t) => {
  const { issuer } = authority(['*.w.example']);
  const { spki } = workerKey();
  const times: number[] = [];
  for (let i = 0; i < 300; i++) {
    const start = performance.now();
    await issuer.leaf(`h${i}.w.example`, spki);
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const at = (share: number): string => (times[Math.floor(times.length * share)] ?? 0).toFixed(2);
  t.comment(`leaf: median ${at(0.5)} ms, p99 ${at(0.99)} ms`);
  issuer.close();
});
