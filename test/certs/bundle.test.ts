import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import t from 'tap';
import { buildBundle, SYSTEM_BUNDLES, systemRoots } from '../../certs/bundle.ts';
import { readPem, toPem } from '../../certs/pem.ts';
import { agentRoot, createRoot } from '../../src/vault/authorities/root.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-bundle-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const root = (name: string): string =>
  toPem(createRoot(agentRoot({ id: 'agt_0123456789abcdef', name }, 1)).certificate);
const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

const [own, first, second] = [root('own'), root('first'), root('second')];
const absent = join(folder, 'absent.pem');

t.test('a bundle is what was trusted before and the CA, each once', async (t) => {
  const base = file('base.pem', `# a comment\n${first}\nsome text\n${second}${first}`);
  t.equal(buildBundle({ base: [base], add: own }), first + second + own);
  const again = file('again.pem', buildBundle({ base: [base], add: own }));
  t.equal(
    buildBundle({ base: [again], add: own }),
    first + second + own,
    'a bundle of ours as base stays as it is',
  );
  const crlf = file('crlf.pem', (first + own).replaceAll('\n', '\r\n'));
  t.equal(buildBundle({ base: [crlf], add: own }), first + own, 'whatever the line ends');
});

t.test('the first candidate that holds certificates is the base', async (t) => {
  const empty = file('empty.pem', '');
  const a = file('a.pem', first);
  const b = file('b.pem', second);
  t.equal(buildBundle({ base: [absent, empty, a, b], add: own }), first + own);
  t.equal(buildBundle({ base: [b, a], add: own }), second + own);
  t.equal(buildBundle({ base: [join(a, 'below-a-file'), b], add: own }), second + own);
});

t.test('without a base no bundle is made: the client would lose all of its roots', async (t) => {
  const none = file('none.pem', 'no certificate here');
  for (const base of [[], [absent], [absent, none]]) {
    t.throws(() => buildBundle({ base, add: own }), { code: 'not_found', message: /ca-certificates/ });
  }
});

t.test('a candidate that cannot be read is an error, not a reason to take the next', async (t) => {
  const unreadable = join(folder, 'a-folder.pem');
  mkdirSync(unreadable);
  const b = file('b.pem', second);
  t.throws(() => buildBundle({ base: [unreadable, b], add: own }), {
    code: 'invalid_argument',
    message: /a-folder/,
  });
});

t.test('only certificates are added', async (t) => {
  const base = [file('base.pem', first)];
  const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  for (const add of ['', 'text', broken, own + broken]) {
    t.throws(() => buildBundle({ base, add }), { code: 'invalid_argument' });
  }
});

t.test("the system's roots are its own bundle, else those of Node", async (t) => {
  const a = file('a.pem', first + second);
  t.equal(systemRoots([absent, a]), first + second);
  t.same(readPem(systemRoots([absent])).length, rootCertificates.length);
  t.ok(readPem(systemRoots()).length > 0);
  t.ok(SYSTEM_BUNDLES.every((path) => path.startsWith('/etc/')));
});
