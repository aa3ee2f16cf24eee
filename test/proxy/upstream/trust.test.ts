import { spawn } from 'node:child_process';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import type { UpstreamConnection } from '../../../src/proxy/upstream/connection.ts';
import type { UpstreamKey } from '../../../src/proxy/upstream/key.ts';
import { Resolver } from '../../../src/upstream/resolve.ts';
import { makeCa, makeServerCert } from '../../support/certificates.ts';
import { bench, ca, certificate, exchange, recorder, until } from './pool-bench.ts';

function secure({ socket }: UpstreamConnection): tls.TLSSocket {
  if (socket instanceof tls.TLSSocket) return socket;
  throw new Error('the connection has no TLS');
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  t.test(`${version}: the second connection is resumed, and verified still`, async (t) => {
    const { pool, key } = await bench(t, {}, { minVersion: version, maxVersion: version });
    const connect = async (rest: Partial<UpstreamKey> = {}): Promise<boolean> => {
      const connection = await pool.open(key(rest));
      await exchange(connection); // the tickets of TLS 1.3 come with the answer
      t.equal(secure(connection).authorized, true);
      t.equal(secure(connection).getProtocol(), version);
      const resumed = secure(connection).isSessionReused();
      pool.takeIdle(key(rest))?.destroy();
      return resumed;
    };
    t.equal(await connect(), false);
    // Node as a TLS 1.3 server gives two tickets, and none on a resumed connection.
    for (let i = 0; i < 2; i++) t.equal(await connect(), true, `connection ${i + 2}`);
    t.equal(await connect(), version === 'TLSv1.2', 'TLS 1.2 sessions serve many times, tickets once');
    for (const other of [{ identity: 'c2' }, { agent: 'b' }, { host: 'other.test' }]) {
      t.equal(await connect(other), false, `not for ${JSON.stringify(other)}`);
    }
    pool.retain((identity) => identity !== 'c1');
    t.equal(await connect(), false, 'forgotten with its credential');
    t.equal(await connect({ identity: 'c2' }), true, 'others keep theirs');
    pool.retrust({ system: ca.cert, extra: '' });
    t.equal(await connect({ identity: 'c2' }), false, 'forgotten with the roots');
    t.equal(await connect({ identity: 'c2' }), true);
    pool.retrust({ system: makeCa().cert, extra: '' });
    await t.rejects(pool.open(key({ identity: 'c2' })), { code: 'upstream_untrusted' });
  });

  t.test(`${version}: a resumed session whose certificate has run out is refused`, async (t) => {
    const soon = { notAfter: new Date(Math.ceil(Date.now() / 1000) * 1000 + 1000) };
    const short = makeServerCert(ca, 'good.test', soon);
    const { pool, key } = await bench(t, {}, { ...short, minVersion: version, maxVersion: version });
    await exchange(await pool.open(key()));
    const resumed = await pool.open(key());
    t.equal(secure(resumed).isSessionReused(), true);
    await exchange(resumed);
    await sleep(Math.max(0, soon.notAfter.getTime() - Date.now() + 50));
    await t.rejects(pool.open(key()), { code: 'upstream_untrusted', message: /expired/ });
  });
}

t.test('a ticket of TLS 1.3 is offered once', async (t) => {
  const { pool, key } = await bench(t, {}, { minVersion: 'TLSv1.3' });
  await exchange(await pool.open(key())); // two tickets
  const several = await Promise.all(Array.from({ length: 5 }, () => pool.open(key())));
  const resumed = several.filter((connection) => secure(connection).isSessionReused());
  t.equal(resumed.length, 2, 'as many as there were tickets');
});

t.test('a server that renews its tickets is resumed every time', async (t) => {
  const { port } = await startOpenssl(t, ['-tls1_3', '-rev']);
  const { pool, key } = await bench(t, { resolver: towards(port) });
  for (let i = 0; i < 8; i++) {
    const connection = await pool.open(key());
    t.equal(secure(connection).isSessionReused(), i > 0, `connection ${i + 1}`);
    t.equal(secure(connection).authorized, true);
    const handler = recorder();
    connection.handler = handler;
    connection.socket.write('ab\n');
    await until(() => handler.events.length > 0, 'answered');
    connection.destroy();
  }
});

t.test(
  'changed roots and a forgotten credential close idle connections now, others at release',
  async (t) => {
    const { pool, key } = await bench(t);
    const ends: [string, () => void, boolean][] = [
      ['forget', () => pool.retain((identity) => identity !== 'c1'), true],
      ['retrust', () => pool.retrust({ system: '', extra: ca.cert }), false],
    ];
    for (const [what, end, keepsOthers] of ends) {
      const idle = await pool.open(key());
      await exchange(idle);
      const other = await pool.open(key({ identity: 'c2' }));
      await exchange(other);
      const used = await pool.open(key());
      end();
      t.ok(idle.socket.destroyed, `${what}: idle`);
      t.equal(other.socket.destroyed, !keepsOthers, `${what}: another credential's`);
      t.notOk(used.socket.destroyed, `${what}: in use`);
      await exchange(used);
      t.ok(used.socket.destroyed, `${what}: released`);
      t.equal(pool.takeIdle(key()), undefined);
      pool.takeIdle(key({ identity: 'c2' }))?.destroy();
    }
  },
);

t.test('roots that change while a connection is being made count for it', async (t) => {
  const { pool, key } = await bench(t);
  const opening = pool.open(key());
  pool.retrust({ system: makeCa().cert, extra: '' });
  await t.rejects(opening, { code: 'upstream_untrusted' });
});

t.test('roots that are no PEM are refused by name; none at all trust nobody', async (t) => {
  const { pool, key } = await bench(t, { ca: { system: '', extra: '' } });
  await t.rejects(pool.open(key()), { code: 'upstream_untrusted' });
  const torn = ca.cert.replace(/[A-Za-z0-9+/]{20}/, '????????????????????');
  for (const extra of ['nonsense', `${ca.cert}${torn}`, certificate.key]) {
    t.throws(() => pool.retrust({ system: '', extra }), { code: 'invalid_settings' });
  }
});

t.test('a server cannot renegotiate: its new certificate would not be verified', async (t) => {
  const { port, stdin } = await startOpenssl(t, ['-tls1_2']);
  const { pool, key } = await bench(t, { resolver: towards(port) });
  const connection = await pool.open(key());
  const handler = recorder();
  connection.handler = handler;
  stdin.write('r\n');
  await sleep(100);
  stdin.write('after\n');
  await until(() => handler.events.length > 0, 'something happens');
  t.notOk(
    handler.events.some((event) => event.startsWith('data')),
    'nothing is read behind it',
  );
  t.ok(connection.socket.destroyed);
});

/** OpenSSL's own server on a loopback port of its own; what is written to `stdin` it sends, or obeys. */
async function startOpenssl(t: Test, args: readonly string[]): Promise<{ port: number; stdin: Writable }> {
  const folder = t.testdir({ cert: certificate.cert, key: certificate.key });
  const files = ['-cert', `${folder}/cert`, '-key', `${folder}/key`];
  const server = spawn('openssl', ['s_server', '-accept', '127.0.0.1:0', ...files, ...args], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  t.teardown(() => server.kill('SIGKILL'));
  server.stdin.on('error', () => {});
  let port = 0;
  server.stdout.on('data', (chunk: Buffer) => {
    port ||= Number(/ACCEPT 127\.0\.0\.1:(\d+)/.exec(chunk.toString())?.[1] ?? 0);
  });
  await until(() => port > 0, 'openssl listens');
  return { port, stdin: server.stdin };
}

function towards(port: number): Resolver {
  const overrides = [{ host: 'good.test', port: 443, address: '127.0.0.1', toPort: port }];
  return new Resolver({ overrides, timeoutMs: 1000, maxConcurrentPerAgent: 4, hostsFile: '/nonexistent' });
}
