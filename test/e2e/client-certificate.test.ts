import { spawn } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import t from 'tap';
import { z } from 'zod';
import { startNginx } from '../../bench/nginx.ts';
import { stop } from '../../bench/processes.ts';
import { makeCa, makeClientPair, makeServerCert } from '../support/certificates.ts';
import { curl } from '../support/curl.ts';
import { countInMemory } from '../support/process-memory.ts';
import { until } from '../support/processes.ts';
import { startSallyport } from '../support/sallyport.ts';
import { portOf } from '../support/tls-server.ts';
import { TOKEN_SERVICES } from '../support/token-services.ts';
import { freePort } from '../support/worker.ts';

t.setTimeout(120_000);
const folder = mkdtempSync(join(tmpdir(), 'sallyport-certificates-'));
const ca = makeCa('Server Authority');
const clients = makeCa('Clients');
const identity = makeServerCert(ca, ['mutual.test', 'shown.test']);
const files = {
  ca: join(folder, 'ca.pem'),
  services: join(folder, 'services.json'),
  pair: join(folder, 'pair.pem'),
};
writeFileSync(files.ca, ca.cert);
writeFileSync(
  files.services,
  JSON.stringify(TOKEN_SERVICES.filter(({ id }) => ['mutual', 'shown'].includes(id))),
);
writeFileSync(join(folder, 'server.pem'), identity.cert + identity.key);

/** For `shown`: lets in whom `clients` has certified, and says who that is. */
const server = createServer({ ...identity, requestCert: true, ca: clients.cert }, ({ socket }, response) => {
  response.end(socket instanceof TLSSocket ? String(socket.getPeerCertificate().subject.CN) : 'nobody');
});
server.on('tlsClientError', () => {}); // who is not let in is the test's
const connections = promisify(server.getConnections.bind(server));
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const nginxPort = await freePort();
const sallyport = await startSallyport({
  flags: [
    ...['--workers', '1', '--upstream-ca', files.ca, '--upstream-allow', '127.0.0.0/8'],
    ...['--upstream-resolve', `mutual.test:443=127.0.0.1:${nginxPort}`],
    ...['--upstream-resolve', `shown.test:443=127.0.0.1:${portOf(server)}`],
  ],
});
t.teardown(async () => {
  await sallyport.remove();
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});
await sallyport.cli(['service', 'add', '--file', files.services]);
const added = z
  .object({ token: z.string(), ca: z.string() })
  .parse(await sallyport.json(['agent', 'add', 'bot']));
const bot = { name: 'bot', token: added.token, ca: await readFile(added.ca, 'utf8') };
const get = (host: string, ...args: string[]) => curl(sallyport.proxy, bot, [...args, `https://${host}/`]);
const Identified = z.object({ id: z.string() });
const Created = z.object({ id: z.string(), key: z.object({ certificate: z.string(), signs: z.string() }) });
const create = async (...args: string[]) =>
  Created.parse(await sallyport.json(['credential', 'create', 'mutual', '--agent', 'bot', ...args]));

/** For `mutual`: nginx, which knows no clients but those under `certificate`, and refuses others as it does. */
async function nginxTrusting(name: string, certificate: string) {
  const clientsFile = join(folder, `${name}-clients.pem`);
  writeFileSync(clientsFile, certificate);
  const pem = join(folder, 'server.pem');
  const child = await startNginx(
    'rest',
    join(folder, name),
    nginxPort,
    `server { listen 127.0.0.1:${nginxPort} ssl; ssl_certificate ${pem}; ssl_certificate_key ${pem};
     ssl_client_certificate ${clientsFile}; ssl_verify_client on; location / { return 200 "$ssl_client_s_dn"; } }`,
  );
  return () => stop(child);
}

t.test('a key in the HSM lets the agent in at a server that trusts its authority, nginx', async (t) => {
  const text = (
    await sallyport.cli(['credential', 'create', 'mutual', '--agent', 'bot', '--field', 'common_name=robot'])
  ).stdout;
  t.match(text, /born|made in the HSM/);
  t.match(text, /authority for client certificates/);
  const [certificate = ''] = /-----BEGIN CERTIFICATE.*END CERTIFICATE-----\n/s.exec(text) ?? [];
  const close = await nginxTrusting('first', certificate);
  t.match(await get('mutual.test'), { code: 0, stdout: 'CN=robot' });
  t.match(
    await get('mutual.test', '--http1.1', '--data', 'x'),
    { stdout: 'CN=robot' },
    'on a connection that is open',
  );
  await close();

  const { id, key } = await create('--field', 'common_name=robot');
  t.equal(key.signs, 'certificates');
  const stillTrusting = await nginxTrusting('second', certificate);
  t.match(
    (await get('mutual.test')).stdout,
    /400.*SSL certificate error/s,
    'the new key is another authority',
  );
  await stillTrusting();
  const shownAgain = (await sallyport.cli(['credential', 'public-key', id])).stdout;
  const [again = ''] = /-----BEGIN CERTIFICATE.*END CERTIFICATE-----\n/s.exec(shownAgain) ?? [];
  const trusting = await nginxTrusting('third', again);
  t.match(await get('mutual.test'), { code: 0, stdout: 'CN=robot' }, 'which may be shown any time');
  await sallyport.cli(['credential', 'rollback', 'mutual']);
  t.match((await get('mutual.test')).stdout, /400.*SSL certificate error/s, 'the key before it, again');
  await trusting();
});

t.test("the owner's own pair is shown; what it is not is refused when it is entered", async (t) => {
  const one = makeClientPair(clients, 'one');
  const other = makeClientPair(clients, 'other');
  writeFileSync(
    files.pair,
    `${one.slice(0, one.indexOf('-----BEGIN CERT'))}${other.slice(other.indexOf('-----BEGIN CERT'))}`,
  );
  const set = ['credential', 'set', 'shown', '--agent', 'bot', '--file', files.pair];
  t.match(
    await sallyport.failure(set),
    /^1 sallyport: The field pem of shown is no client certificate with its private key.*\[invalid_credential\]\n$/,
  );
  t.match((await get('shown.test')).stderr, /403/, 'nothing is granted yet');
  writeFileSync(files.pair, one);
  await sallyport.cli(set);
  t.match(await get('shown.test'), { code: 0, stdout: 'one' });
  writeFileSync(files.pair, makeClientPair(clients, 'two'));
  await sallyport.cli(set);
  t.match(await get('shown.test'), { code: 0, stdout: 'two' }, 'the very next request shows the new one');
  writeFileSync(files.pair, makeClientPair(makeCa('Nobody known'), 'three'));
  await sallyport.cli(set);
  const { stdout } = await get('shown.test', '--write-out', '%{http_code}');
  t.match(stdout, /upstream_closed.*502$/s, 'who is let in is the server to say');
});

for (const version of ['tls1_2', 'tls1_3']) {
  t.test(
    `${version}: a server that refuses the certificate in the handshake is told of as such`,
    async (t) => {
      const clientsFile = join(folder, 'clients.pem');
      writeFileSync(clientsFile, clients.cert);
      const pem = join(folder, 'server.pem');
      const wanted = ['-Verify', '1', '-verify_return_error', '-CAfile', clientsFile];
      const command = [
        's_server',
        '-accept',
        `127.0.0.1:${nginxPort}`,
        '-cert',
        pem,
        '-key',
        pem,
        '-www',
        `-${version}`,
      ];
      const openssl = spawn('openssl', [...command, ...wanted], { stdio: ['ignore', 'pipe', 'ignore'] });
      await once(openssl.stdout, 'data'); // "ACCEPT"
      const { stdout } = await get('mutual.test', '--write-out', '%{http_code}');
      t.match(stdout, /client_certificate_refused.*said of ours: unknown ca.*502$/s);
      openssl.kill();
      await once(openssl, 'exit');
    },
  );
}

t.test('a removed pair is in no process any more, and its connections are closed', async (t) => {
  const pem = makeClientPair(clients, 'gone');
  writeFileSync(files.pair, pem);
  const { id } = Identified.parse(
    await sallyport.json(['credential', 'set', 'shown', '--agent', 'bot', '--file', files.pair]),
  );
  t.match(await get('shown.test'), { code: 0, stdout: 'gone' });
  t.equal(await connections(), 1, 'kept open for further requests');
  const number = Buffer.from(createPrivateKey(pem).export({ format: 'jwk' }).d ?? '', 'base64url');
  const needles = [number, Buffer.from(number).reverse(), Buffer.from(pem.split('\n')[2] ?? '')];
  const Status = z.object({ processes: z.array(z.object({ kind: z.string(), pid: z.number() })) });
  const { processes } = Status.parse(await sallyport.json(['status']));
  const count = (kind: string): number[] =>
    countInMemory(processes.find((each) => each.kind === kind)?.pid ?? 0, needles);
  t.ok(
    count('worker').some((found) => found > 0),
    'the scan finds it where it is used',
  );
  t.same(count('vault'), [0, 0, 0], 'the vault has opened it, and keeps none');
  await sallyport.cli(['credential', 'remove', id]);
  await until('the connection is closed', 3_000, async () => (await connections()) === 0);
  t.same(count('worker'), [0, 0, 0]);
  t.same(count('vault'), [0, 0, 0]);
});
