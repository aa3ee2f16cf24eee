import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readPem } from '../../../certs/pem.ts';
import { authority, overlap, stolenAuthority, workerKey } from './authority.ts';

t.setTimeout(180_000);
const folder = mkdtempSync(join(tmpdir(), 'sallyport-verifiers-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** A chain, what a client trusts, and whether it must take it. */
interface Case {
  readonly name: string;
  readonly folder: string;
  readonly chain: readonly Buffer[];
  readonly accepted: boolean;
  /** It is refused since its root is unknown, not for its name. */
  readonly stranger: boolean;
}

const cases: Case[] = [];
function add(name: string, rootPem: string, chainPem: string, accepted: boolean, stranger = false): void {
  const own = join(folder, String(cases.length));
  mkdirSync(own);
  writeFileSync(join(own, 'root.pem'), rootPem);
  writeFileSync(join(own, 'chain.pem'), chainPem);
  const chain = readPem(chainPem);
  for (const [index, der] of chain.entries()) writeFileSync(join(own, `${index}.der`), der);
  for (const [index, der] of readPem(rootPem).entries()) writeFileSync(join(own, `root-${index}.der`), der);
  cases.push({ name, folder: own, chain, accepted, stranger });
}

const MIXED = ['api.acme.example', '*.w.example', '127.0.0.1', '2001:db8::1'];
const { spki } = workerKey();
for (const host of ['api.acme.example', 'a.w.example', '127.0.0.1', '2001:db8::1']) {
  const { issuer, rootPem } = authority(MIXED);
  add(`${host} is granted`, rootPem, (await issuer.leaf(host, spki)).chainPem.toString(), true);
  issuer.close();
}
const OUTSIDE: [patterns: string[], host: string][] = [
  [['api.acme.example'], 'acme.example'],
  [['api.acme.example'], 'xapi.acme.example'],
  [['*.w.example'], 'w.example.evil.example'],
  [['api.acme.example'], '127.0.0.1'],
  [['api.acme.example'], '::1'],
  [['127.0.0.1'], '127.0.0.2'],
  [['127.0.0.1'], 'api.acme.example'],
  [[], 'api.acme.example'],
  [[], '127.0.0.1'],
];
for (const [patterns, host] of OUTSIDE) {
  const { rootPem, chainPem } = stolenAuthority(patterns, host);
  add(`a stolen authority for [${patterns.join()}] says ${host}`, rootPem, chainPem, false);
}
{
  const { issuer, oldPem, newPem } = overlap(['*.w.example', '127.0.0.1']);
  for (const host of ['a.w.example', '127.0.0.1']) {
    const chainPem = (await issuer.leaf(host, spki)).chainPem.toString();
    add(`${host} during a rotation, for a client with the old root`, oldPem, chainPem, true);
    add(`${host} during a rotation, for a client with the new root`, newPem, chainPem, true);
    add(`${host} during a rotation, for a client with both`, newPem + oldPem, chainPem, true);
    add(`${host} for a client with another agent's root`, authority([]).rootPem, chainPem, false, true);
  }
  issuer.close();
}

function missing(command: string, ...args: readonly string[]): string | false {
  const { error } = spawnSync(command, args, { stdio: 'ignore' });
  return error ? `${command} is not installed` : false;
}

function run(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const options = {
    env: { PATH: process.env.PATH ?? '', HOME: folder, LC_ALL: 'C', ...env },
    timeout: 120_000,
  };
  execFile(command, args, options, (_error, stdout, stderr) => resolve(`${stdout}${stderr}`));
  return promise;
}

/** What one program says of every case, a line each. */
async function ofAll(
  command: string,
  args: readonly string[],
  env?: Record<string, string>,
): Promise<string[]> {
  const output = await run(command, [...args, ...cases.map((each) => each.folder)], env);
  const lines = output.trimEnd().split('\n');
  if (lines.length !== cases.length) throw new Error(`${command} said: ${output}`);
  return lines;
}

async function ofEach(verify: (of: Case) => Promise<string>): Promise<string[]> {
  const said: string[] = [];
  for (const each of cases) said.push(await verify(each));
  return said;
}

const source = (name: string): string => join(import.meta.dirname, 'verifiers', name);
/** Go keeps its standard library built there: without it each run would build it anew. */
const GO = {
  GOCACHE: process.env.GOCACHE ?? join(homedir(), '.cache', 'go-build'),
  GOTOOLCHAIN: 'local',
  GOPROXY: 'off',
};

interface Verifier {
  readonly name: string;
  readonly skip: string | false;
  readonly verify: () => Promise<string[]>;
  /** What it says of a name outside the constraints, and of a root that it does not know. */
  readonly forbidden: RegExp;
  readonly stranger: RegExp;
}

const VERIFIERS: Verifier[] = [
  {
    name: 'OpenSSL',
    skip: missing('openssl', 'version'),
    verify: () =>
      ofEach(async ({ folder: at }) => {
        const chain = join(at, 'chain.pem');
        const files = ['-CAfile', join(at, 'root.pem'), '-untrusted', chain, chain];
        const strict = ['-no-CAfile', '-no-CApath', '-x509_strict', '-purpose', 'sslserver'];
        const said = await run('openssl', ['verify', ...strict, ...files]);
        return said.includes('chain.pem: OK') ? 'OK' : said;
      }),
    forbidden: /(permitted|excluded) subtree violation/,
    stranger: /unable to get local issuer certificate/,
  },
  {
    name: 'Go',
    skip: missing('go', 'version'),
    verify: () => ofAll('go', ['run', source('verify.go')], GO),
    forbidden: /not authorized to sign for this name/,
    stranger: /unknown authority/,
  },
  {
    name: 'Java',
    skip: missing('java', '-version'),
    verify: () => ofAll('java', ['-XX:TieredStopAtLevel=1', source('Verify.java')]),
    forbidden: /name constraints check failed/,
    stranger: /unable to find valid certification path/,
  },
  {
    name: 'GnuTLS',
    skip: missing('certtool', '--version'),
    verify: () =>
      ofEach(async ({ folder: at }) => {
        const files = ['--load-ca-certificate', join(at, 'root.pem'), '--infile', join(at, 'chain.pem')];
        const said = await run('certtool', ['--verify', ...files, '--verify-purpose', '1.3.6.1.5.5.7.3.1']);
        return said.includes('Chain verification output: Verified.') ? 'OK' : said;
      }),
    forbidden: /violates the signer's constraints/,
    stranger: /issuer is unknown/,
  },
  {
    name: 'NSS',
    skip: missing('vfychain', '-?') || missing('certutil', '-H'),
    verify: () =>
      ofEach(async ({ folder: at, chain }) => {
        const database = join(at, 'nss');
        mkdirSync(database);
        await run('certutil', ['-N', '-d', `sql:${database}`, '--empty-password']);
        for (const [index] of readPem(readFileSync(join(at, 'root.pem'), 'utf8')).entries()) {
          const root = ['-n', `root ${index}`, '-t', 'C,,', '-i', join(at, `root-${index}.der`)];
          await run('certutil', ['-A', '-d', `sql:${database}`, ...root]);
        }
        // -u 1: as the certificate of a TLS server; -pp: with libpkix, which builds paths.
        const files = chain.map((_der, index) => join(at, `${index}.der`));
        const said = await run('vfychain', ['-d', `sql:${database}`, '-u', '1', '-pp', ...files]);
        return said.includes('Chain is good!') ? 'OK' : said;
      }),
    forbidden: /CERT 1\. CN=Sallyport issuing stolen/,
    stranger: /issuer is not recognized/,
  },
];

for (const { name, skip, verify, forbidden, stranger } of VERIFIERS) {
  t.test(
    `${name} takes what the constraints permit, from either root during a rotation`,
    { skip },
    async (t) => {
      const said = await verify();
      for (const [index, each] of cases.entries()) {
        if (each.accepted) t.equal(said[index], 'OK', each.name);
        else t.match(said[index], each.stranger ? stranger : forbidden, each.name);
      }
    },
  );
}
