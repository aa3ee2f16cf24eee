import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import t from 'tap';
import { ClientContexts } from '../../../src/proxy/upstream/client-contexts.ts';
import type { UpstreamConnection } from '../../../src/proxy/upstream/connection.ts';
import { Resolver } from '../../../src/upstream/resolve.ts';
import { createTrust } from '../../../src/upstream/trust.ts';
import { makeCa, makeClientPair } from '../../support/certificates.ts';
import { Http2Server } from '../../support/h2-server.ts';
import { bench, ca, certificate, exchange, recorder, until } from './pool-bench.ts';

const clients = makeCa('Clients');
const pair = (name: string): Buffer => Buffer.from(makeClientPair(clients, name));
const demanding = { requestCert: true, rejectUnauthorized: true, ca: clients.cert } as const;

/** The common names that the server was shown, in the order of its connections. */
function shown(): { readonly names: string[]; readonly onSocket: (socket: tls.TLSSocket) => void } {
  const names: string[] = [];
  const onSocket = (socket: tls.TLSSocket): void => {
    names.push(String(socket.getPeerCertificate().subject?.CN));
    socket.on('data', (chunk: Buffer) => {
      if (chunk.includes(0x3f)) socket.write('!');
    });
  };
  return { names, onSocket };
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  t.test(`${version}: a connection shows the certificate that it is opened with`, async (t) => {
    const { names, onSocket } = shown();
    const limited = { ...demanding, minVersion: version, maxVersion: version };
    const { pool, key } = await bench(t, {}, limited, onSocket);
    const use = async (identity: string, bytes: Buffer): Promise<UpstreamConnection> => {
      const connection = await pool.open(key({ identity }), undefined, bytes);
      await exchange(connection);
      return connection;
    };
    const [first, second] = [pair('first'), pair('second')];
    await use('c1/1', first);
    await use('c2/1', second);
    await use('c1/1', first);
    t.same(names, ['first', 'second', 'first'], 'each its own, resumed or not');
    t.ok(pool.takeIdle(key({ identity: 'c2/1' })), "kept for its own credential's requests");
    t.equal(pool.takeIdle(key({ identity: 'c3/1' })), undefined);
    first.fill(0);
    await exchange(
      await pool.open(key({ identity: 'c1/1', host: 'other.test' }), undefined, pair('renewed')),
    );
    t.equal(names.at(-1), 'renewed', 'a certificate that was renewed takes the place of the one before');
  });
}

t.test('without a certificate, or with one of another authority, the server lets nobody in', async (t) => {
  const { pool, key } = await bench(t, {}, demanding);
  const stranger = Buffer.from(makeClientPair(makeCa('Others'), 'stranger'));
  for (const identity of [undefined, stranger]) {
    const refused = pool.open(key(), undefined, identity).then(exchange);
    await t.rejects(refused, /ended|ECONNRESET|closed|alert/);
  }
});

t.test('what is no certificate with its key is refused before anything is sent', async (t) => {
  const { pool, key, server } = await bench(t, {}, demanding);
  const [one, two] = [makeClientPair(clients, 'one'), makeClientPair(clients, 'two')];
  const [keyOnly = '', certificateOnly = ''] = one.split(/(?=-----BEGIN CERTIFICATE)/);
  const [, another = ''] = two.split(/(?=-----BEGIN CERTIFICATE)/);
  for (const text of ['', 'nonsense', keyOnly, certificateOnly, keyOnly + another]) {
    await t.rejects(pool.open(key(), undefined, Buffer.from(text)), { code: 'credential_missing' });
  }
  t.equal(server.open(), 0);
});

t.test('over HTTP/2 too', async (t) => {
  const server = await Http2Server.start(certificate, {}, demanding);
  t.teardown(() => server.close());
  const overrides = [{ host: 'good.test', port: 443, address: '127.0.0.1', toPort: server.port }];
  const resolver = new Resolver({ overrides, timeoutMs: 1000, maxConcurrentPerAgent: 4 });
  const { pool, key } = await bench(t, { resolver });
  const opened = await Promise.all(
    ['c1/1', 'c1/1', 'c2/1'].map((identity) =>
      pool.open(key({ identity, http2: [] }), undefined, pair(`of ${identity}`)),
    ),
  );
  const names: string[] = [];
  for (const connection of opened) {
    connection.socket.write('GET / HTTP/1.1\r\nHost: good.test\r\n\r\n');
    const { stream } = await server.request();
    const socket: unknown = stream.session?.socket;
    names.push(socket instanceof tls.TLSSocket ? String(socket.getPeerCertificate().subject.CN) : 'none');
    connection.destroy();
  }
  t.same(names, ['of c1/1', 'of c1/1', 'of c2/1']);
  t.equal(server.accepted, 2, 'requests share what their credential has opened');
});

t.test('the key goes with the credential, with age, and with what was trusted', async (t) => {
  const { pool, key } = await bench(t, { keyAgeMs: 50 }, demanding);
  const identity = pair('first');
  const connection = await pool.open(key({ identity: 'c1/1' }), undefined, identity);
  const other = await pool.open(key({ identity: 'c2/1' }), undefined, pair('second'));
  await exchange(connection);
  const events = recorder();
  other.handler = events;
  pool.retain((each) => each !== 'c1/1');
  await until(() => connection.socket.destroyed, 'the idle connection of the removed credential is closed');
  t.notOk(other.socket.destroyed);
  other.destroy();
  await sleep(100);
  await exchange(await pool.open(key({ identity: 'c2/1' }), undefined, pair('second')));
  pool.retrust({ system: ca.cert, extra: '' });
  await exchange(await pool.open(key({ identity: 'c2/1' }), undefined, pair('second')));
});

t.test('a context is freed when nobody holds it any more, and not before', async (t) => {
  const trust = createTrust({ system: '', extra: ca.cert });
  const made: tls.SecureContext[] = [];
  const contexts = new ClientContexts(60_000, (identity) => {
    const context = trust.showing(identity);
    made.push(context);
    return context;
  });
  const isFreed = (context: tls.SecureContext | undefined): boolean =>
    context?.context.getCertificate() === null;
  const identity = pair('first');
  const gate = Promise.withResolvers<void>();
  const using = contexts.with('c1/1', identity, () => gate.promise);
  await contexts.with('c1/1', identity, async (context) => t.equal(context, made[0], 'made once'));
  contexts.retain(() => false);
  t.notOk(isFreed(made[0]), 'a handshake is under way with it');
  gate.resolve();
  await using;
  t.ok(isFreed(made[0]));
  await contexts.with('c1/1', identity, async (context) => t.not(context, made[0]));
  await contexts.with('c1/1', pair('renewed'), async (context) => t.equal(context, made[2]));
  t.ok(isFreed(made[1]), 'replaced');
  t.notOk(isFreed(made[2]), 'kept');
  const failing = contexts.with('c1/1', identity, () => Promise.reject(new Error('no connection')));
  await t.rejects(failing, /no connection/);
  contexts.retain(() => false);
  t.same(
    made.map(isFreed),
    made.map(() => true),
  );
});
