import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import t from 'tap';
import { readPem, toPem } from '../../../certs/pem.ts';
import { portOf } from '../../support/tls-server.ts';
import { authority, stolenAuthority, workerKey } from './authority.ts';

interface Presented {
  readonly rootPem: string;
  readonly chainPem: string;
  readonly key: string;
}

/** What a client said: its exit code and its output. */
interface Outcome {
  readonly code: number;
  readonly text: string;
}

const folder = mkdtempSync(join(tmpdir(), 'sallyport-authorities-'));
const rootFile = join(folder, 'root.pem');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

async function granted(patterns: readonly string[], host: string): Promise<Presented> {
  const { issuer, rootPem } = authority(patterns);
  const { spki, key } = workerKey();
  const { chainPem } = await issuer.leaf(host, spki);
  issuer.close();
  return { rootPem, chainPem: chainPem.toString(), key };
}

/** Serves one answer on a port of its own while `use` runs. */
async function serving<T>({ chainPem, key }: Presented, use: (port: number) => Promise<T>): Promise<T> {
  const server = tls.createServer({ cert: chainPem, key }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', () =>
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok'),
    );
  });
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await use(portOf(server));
  } finally {
    server.close();
  }
}

/** Runs a client with nothing in its environment that could change what it trusts or how it connects. */
function run(command: string, args: readonly string[]): Promise<Outcome> {
  const options = { env: { PATH: process.env.PATH, HOME: folder }, timeout: 15_000 };
  return new Promise((resolve) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, text: stdout + stderr });
    });
  });
}

const PYTHON = `
import ssl, sys, urllib.request
context = ssl.create_default_context(cafile=sys.argv[1])
context.verify_flags |= ssl.VERIFY_X509_STRICT
print(urllib.request.urlopen(sys.argv[2], context=context, timeout=10).read().decode())
`;

/** Each client, how it is called, and what it says where the name constraints forbid the leaf. */
const CLIENTS: [command: string, args: (url: string) => string[], refusal: RegExp][] = [
  ['curl', (url) => ['-sS', '--cacert', rootFile, url], /permitted subtree violation|certificate/i],
  ['python3', (url) => ['-c', PYTHON, rootFile, url], /permitted subtree violation/],
  ['wget', (url) => ['-nv', '-O-', `--ca-certificate=${rootFile}`, url], /certificate/i],
];

const missing = (command: string): string | false =>
  spawnSync(command, ['--version']).error ? `${command} is not installed` : false;

for (const [command, args, refusal] of CLIENTS) {
  const skip = missing(command);
  t.test(`${command} trusts what the root vouches for, and nothing else`, { skip }, async (t) => {
    const fetch = (presented: Presented): Promise<Outcome> => {
      writeFileSync(rootFile, presented.rootPem);
      return serving(presented, (port) => run(command, args(`https://localhost:${port}/`)));
    };
    t.match(await fetch(await granted(['localhost', '*.w.example'], 'localhost')), { code: 0, text: /ok/ });
    const outside = await fetch(stolenAuthority(['api.acme.example'], 'localhost'));
    t.not(outside.code, 0, 'a leaf outside the constraints is refused');
    t.match(outside.text, refusal);
    const another = await granted(['localhost'], 'localhost');
    const { rootPem } = authority(['localhost']);
    t.not((await fetch({ ...another, rootPem })).code, 0, "and so is another agent's root");
  });
}

t.test('Node trusts a granted host or address, and holds to the constraints', async (t) => {
  const connect = (presented: Presented, host: string): Promise<string> =>
    serving(
      presented,
      (port) =>
        new Promise((resolve) => {
          const socket = tls.connect({ port, host: '127.0.0.1', servername: host, ca: presented.rootPem });
          socket.once('secureConnect', () => {
            resolve(socket.authorized ? 'trusted' : 'unverified');
            socket.destroy();
          });
          socket.once('error', (error) => resolve(error.message));
        }),
    );
  t.equal(await connect(await granted(['*.w.example'], 'a.w.example'), 'a.w.example'), 'trusted');
  t.match(
    await connect(stolenAuthority(['api.acme.example'], 'b.example'), 'b.example'),
    /permitted subtree/,
  );
  t.match(await connect(await granted(['*.w.example'], 'a.w.example'), 'b.w.example'), /altnames/);
});

t.test(
  'openssl verify -x509_strict accepts what the grants cover and refuses what they do not',
  { skip: missing('openssl') },
  async (t) => {
    const verify = async ({ rootPem, chainPem }: Presented): Promise<string> => {
      const [leaf, issuing] = readPem(chainPem).map(toPem);
      writeFileSync(rootFile, rootPem);
      writeFileSync(join(folder, 'leaf.pem'), leaf ?? '');
      writeFileSync(join(folder, 'issuing.pem'), issuing ?? '');
      const files = [
        '-CAfile',
        rootFile,
        '-untrusted',
        join(folder, 'issuing.pem'),
        join(folder, 'leaf.pem'),
      ];
      const strict = ['-no-CAfile', '-no-CApath', '-x509_strict', '-policy_check', '-purpose', 'sslserver'];
      const { code, text } = await run('openssl', ['verify', ...strict, ...files]);
      return code === 0 ? 'OK' : text;
    };
    const mixed = ['api.acme.example', '*.w.example', '127.0.0.1', '2001:db8::1'];
    for (const host of ['api.acme.example', 'a.w.example', '127.0.0.1', '2001:db8::1']) {
      t.equal(await verify(await granted(mixed, host)), 'OK', host);
    }
    const outside: [string[], string][] = [
      [['api.acme.example'], 'acme.example'],
      [['api.acme.example'], 'xapi.acme.example'],
      [['*.w.example'], 'w.example.evil.example'],
      [['api.acme.example'], '127.0.0.1'],
      [['api.acme.example'], '::1'],
      [['127.0.0.1'], '127.0.0.2'],
      [['127.0.0.1'], '::1'],
      [['::1'], '127.0.0.1'],
      [['127.0.0.1'], 'api.acme.example'],
      [[], 'api.acme.example'],
      [[], '127.0.0.1'],
    ];
    for (const [patterns, host] of outside) {
      const said = await verify(stolenAuthority(patterns, host));
      t.match(said, /(permitted|excluded) subtree violation/, `${patterns.join()} does not reach ${host}`);
    }
  },
);
