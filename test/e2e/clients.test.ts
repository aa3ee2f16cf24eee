import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import t from 'tap';
import { makeServerCert } from '../support/certificates.ts';
import { API, GRPC, SECRET, startClientScene } from '../support/client-scene.ts';
import { BIG, sha256 } from '../support/client-server.ts';
import { goClient, installed, python, type Tool } from '../support/client-tools.ts';

t.setTimeout(170_000);
const credentials: unknown[] = [];
const asIs = (bytes: Buffer): Buffer => bytes;
const rpc = new grpc.Server();
const scene = await startClientScene(async (ca) => {
  const unary = {
    path: '/test.Echo/Unary',
    requestStream: false,
    responseStream: false,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  };
  rpc.addService(
    { unary },
    {
      unary(call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) {
        credentials.push(call.metadata.get('authorization'));
        done(null, Buffer.from(`${call.request} back`));
      },
    },
  );
  const { cert, key } = makeServerCert(ca, 'grpc.test');
  const pair = { cert_chain: Buffer.from(cert), private_key: Buffer.from(key) };
  return new Promise((resolve, reject) => {
    const secure = grpc.ServerCredentials.createSsl(null, [pair]);
    rpc.bindAsync('127.0.0.1:0', secure, (error, port) => (error ? reject(error) : resolve(port)));
  });
});
t.teardown(async () => {
  rpc.forceShutdown();
  await scene.remove();
});

const file = (name: string): string => fileURLToPath(new URL(`clients/${name}`, import.meta.url));
/** What a client that did all of it prints. */
const BOTH = `${sha256(BIG)} ${sha256(Buffer.alloc(300_000, 'x'))}`;
const UPLOAD = randomBytes(6_000_000);
const upload = join(scene.folder, 'upload');
writeFileSync(upload, UPLOAD);
const node = process.execPath;
const curl = ['curl', '-sS', '--max-time', '60', '-w', ' %{http_version}'];

interface Client {
  /** Its program and arguments; a reason where it cannot be run. */
  readonly words: readonly string[] | { readonly missing: string };
  readonly prints: string;
}

const needs = (program: string, args: readonly string[], words: readonly string[]): Client['words'] =>
  installed(program, args) ? words : { missing: `${program} is not installed` };
const tool = (found: Tool, words: (path: string) => readonly string[]): Client['words'] =>
  'path' in found ? words(found.path) : found;
const withCurl = (...words: string[]): Client['words'] => needs('curl', ['--version'], [...curl, ...words]);
const withPython = (library: string): Client => ({
  words: tool(python(), (path) => [path, file('client.py'), library, API]),
  prints: BOTH,
});
const chromium = ['chromium', 'chromium-browser', 'google-chrome'].find((name) => installed(name));

const CLIENTS: Readonly<Record<string, Client>> = {
  'curl over HTTP/1.1': {
    words: withCurl('--http1.1', '--data-binary', 'x', `${API}/echo`),
    prints: `${sha256(Buffer.from('x'))} 1.1`,
  },
  'curl over HTTP/2': {
    words: withCurl('--http2', '--data-binary', 'x', `${API}/echo`),
    prints: `${sha256(Buffer.from('x'))} 2`,
  },
  'curl with Expect: 100-continue and 6 MB': {
    words: withCurl('--http1.1', '-H', 'Expect: 100-continue', '-T', upload, `${API}/echo`),
    prints: `${sha256(UPLOAD)} 1.1`,
  },
  'curl with 6 MB over HTTP/2': {
    words: withCurl('--http2', '-T', upload, `${API}/echo`),
    prints: `${sha256(UPLOAD)} 2`,
  },
  wget: {
    words: needs('wget', ['--version'], ['wget', '-q', '-O', '-', `--post-file=${upload}`, `${API}/echo`]),
    prints: sha256(UPLOAD),
  },
  "Python's urllib": {
    words: needs('python3', ['--version'], ['python3', file('client.py'), 'urllib', API]),
    prints: BOTH,
  },
  "Python's requests": withPython('requests'),
  "Python's httpx": withPython('httpx'),
  "Python's aiohttp": withPython('aiohttp'),
  "Node's fetch": { words: [node, file('fetch.mjs'), API], prints: BOTH },
  "Node's https": { words: [node, file('https.mjs'), API], prints: BOTH },
  ws: { words: [node, file('ws.mjs'), API], prints: 'text 5 binary 200000 1000' },
  '@grpc/grpc-js': { words: [node, file('grpc.mjs'), GRPC], prints: 'hello back' },
  "Ruby's Net::HTTP": { words: needs('ruby', ['--version'], ['ruby', file('client.rb'), API]), prints: BOTH },
  "Perl's LWP": {
    words: needs('perl', ['-MLWP::Protocol::https', '-e', '1'], ['perl', file('client.pl'), API]),
    prints: BOTH,
  },
  "Go's net/http": { words: tool(goClient(), (path) => [path, API]), prints: `${BOTH} HTTP/2.0` },
  "Java's HttpClient": {
    // The JDK asks for a proxy's password over plain HTTP only where this says so.
    words: needs(
      'javac',
      ['-version'],
      ['java', '-Djdk.http.auth.tunneling.disabledSchemes=', file('Client.java'), API],
    ),
    prints: `${BOTH} HTTP_2`,
  },
  Chromium: {
    words: chromium ? [node, file('chromium.mjs'), chromium, API] : { missing: 'Chromium is not installed' },
    prints: sha256(Buffer.from('x')),
  },
};

for (const [name, { words, prints }] of Object.entries(CLIENTS)) {
  t.test(
    `${name} goes through, with the credential`,
    { skip: 'missing' in words && words.missing },
    async (t) => {
      if ('missing' in words) return;
      scene.server.seen.length = 0;
      const { code, stdout, stderr } = await scene.run(words);
      t.same({ code, printed: stdout.trim() }, { code: 0, printed: prints }, code === 0 ? prints : stderr);
      for (const { what, credential } of scene.server.seen) t.equal(credential, `Bearer ${SECRET}`, what);
      t.notMatch(stdout + stderr, SECRET);
      if (name === '@grpc/grpc-js') t.same(credentials, [[`Bearer ${SECRET}`]]);
      else t.ok(scene.server.seen.length > 0);
    },
  );
}

const noSockets =
  !installed('sh', ['-c', 'curl --version | grep -q "Protocols:.* ws "']) && 'not built into this curl';
t.test("curl's WebSocket goes through, with the credential", { skip: noSockets }, async (t) => {
  scene.server.seen.length = 0;
  await scene.run(['curl', '-sS', '--max-time', '2', `${API.replace('https', 'wss')}/socket`]);
  t.same(scene.server.seen, [{ what: 'GET /socket', credential: `Bearer ${SECRET}` }]);
});
