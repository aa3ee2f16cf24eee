import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type tls from 'node:tls';
import t, { type Test } from 'tap';
import { AddressGuard } from '../../../src/proxy/upstream/address-guard.ts';
import type { UpstreamConnection, UpstreamHandler } from '../../../src/proxy/upstream/connection.ts';
import { type PoolOptions, type UpstreamKey, UpstreamPool } from '../../../src/proxy/upstream/pool.ts';
import { Resolver } from '../../../src/proxy/upstream/resolve.ts';
import { makeCa, makeServerCert } from '../../support/certificates.ts';
import { startTlsServer, type TlsServer } from '../../support/tls-server.ts';

const ca = makeCa();
const certificate = makeServerCert(ca, ['good.test', 'other.test']);

interface Bench {
  readonly server: TlsServer;
  readonly pool: UpstreamPool;
  key(rest?: Partial<UpstreamKey>): UpstreamKey;
}

/** Answers every "?" with "!". */
function answer(socket: tls.TLSSocket): void {
  socket.on('data', (chunk: Buffer) => {
    for (const byte of chunk) if (byte === 0x3f) socket.write('!');
  });
}

async function bench(
  t: Test,
  options: Partial<PoolOptions> = {},
  tlsOptions: tls.TlsOptions = {},
  onSocket = answer,
): Promise<Bench> {
  const server = await startTlsServer(certificate, onSocket, tlsOptions);
  const names = ['good.test', 'other.test', 'evil.test'];
  const overrides = names.map((host) => ({ host, port: 443, address: '127.0.0.1', toPort: server.port }));
  const pool = new UpstreamPool({
    connect: { timeoutMs: 5000 },
    ca: { system: '', extra: ca.cert },
    guard: new AddressGuard({ allow: ['127.0.0.0/8'], ownListeners: [] }),
    resolver: new Resolver({
      overrides,
      timeoutMs: 1000,
      maxConcurrentPerAgent: 4,
      hostsFile: '/nonexistent',
    }),
    ...options,
  });
  t.teardown(async () => {
    pool.close();
    await server.close();
    await until(() => pool.openCount === 0, 'no connection is left');
  });
  return {
    server,
    pool,
    key: (rest = {}) => ({ host: 'good.test', port: 443, agent: 'a', identity: 'c1', ...rest }),
  };
}

/** One exchange: asks, waits for the answer, and gives the connection back. */
async function exchange(connection: UpstreamConnection): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    connection.handler = {
      onData: (chunk) =>
        chunk.toString() === '!' ? resolve() : reject(new Error(`got ${chunk.toString()}`)),
      onEnd: () => reject(new Error('ended')),
      onClose: (error) => reject(error ?? new Error('closed')),
    };
    connection.socket.write('?');
  });
  connection.release();
}

/** Keeps what it is told, in order. */
function recorder(): UpstreamHandler & { readonly events: string[] } {
  const events: string[] = [];
  return {
    events,
    onData: (chunk) => events.push(`data ${chunk.toString()}`),
    onEnd: () => events.push('end'),
    onClose: (error) => events.push(error ? 'error' : 'close'),
    onDrain: () => events.push('drain'),
  };
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (condition()) return;
    await sleep(5);
  }
  throw new Error(`waited in vain: ${what}`);
}

t.test('a released connection is taken again, at once, the last one first', async (t) => {
  const { pool, key, server } = await bench(t);
  t.equal(pool.takeIdle(key()), undefined);
  const first = await pool.open(key());
  t.equal(first.reused, false);
  await exchange(first);
  const again = pool.takeIdle(key());
  t.equal(again, first);
  t.equal(first.reused, true);
  t.equal(pool.takeIdle(key()), undefined, 'in use');
  const second = await pool.open(key());
  await exchange(first);
  await exchange(second);
  t.equal(pool.takeIdle(key()), second);
  t.equal(pool.takeIdle(key()), first);
  for (let i = 0; i < 50; i++) {
    await exchange(second);
    t.equal(pool.takeIdle(key()), second);
  }
  t.equal(server.accepted(), 2);
});

t.test('32 callers at once all find their connection again', async (t) => {
  const { pool, key, server } = await bench(t);
  const opened = await Promise.all(Array.from({ length: 32 }, () => pool.open(key())));
  await Promise.all(opened.map(exchange));
  t.equal(pool.idleCount, 32);
  for (let round = 0; round < 3; round++) {
    const taken = Array.from({ length: 32 }, () => pool.takeIdle(key()));
    t.equal(new Set(taken).size, 32);
    await Promise.all(taken.map((each) => (each ? exchange(each) : t.fail('none idle'))));
  }
  t.equal(server.accepted(), 32);
});

t.test('a connection serves one host, port, agent and credential', async (t) => {
  const { pool, key } = await bench(t);
  await exchange(await pool.open(key()));
  const others = [
    { host: 'other.test' },
    { port: 444 },
    { agent: 'b' },
    { identity: 'c2' },
    { identity: '' },
  ];
  for (const other of others) t.equal(pool.takeIdle(key(other)), undefined, JSON.stringify(other));
  t.ok(pool.takeIdle(key()));
});

t.test('handlers see data, end and close, and nothing after they let go', async (t) => {
  const { pool, key, server } = await bench(t);
  const connection = await pool.open(key());
  await until(() => server.sockets.size === 1, 'accepted');
  const [peer] = server.sockets;
  const handler = recorder();
  connection.handler = handler;
  peer?.end('bye');
  await until(() => handler.events.length === 3, 'close');
  t.strictSame(handler.events, ['data bye', 'end', 'close']);

  const late = recorder();
  connection.handler = late;
  await until(() => late.events.length === 1, 'told of the end though it came first');
  t.strictSame(late.events, ['close']);

  const second = await pool.open(key());
  const silent = recorder();
  second.handler = silent;
  second.destroy();
  await until(() => second.socket.closed, 'closed');
  t.strictSame(silent.events, [], 'who destroys it is not told');

  const third = await pool.open(key());
  await until(() => server.sockets.size === 1, 'accepted');
  const reset = recorder();
  third.handler = reset;
  server.reset();
  await until(() => reset.events.length > 0, 'reset');
  t.match(reset.events.at(-1), /error|close/);
  t.equal(reset.events.filter((event) => event !== 'end').length, 1, 'told once');
});

t.test('a slow reader on the other side is felt, and draining told', async (t) => {
  const { pool, key, server } = await bench(t, {}, {}, (socket) => socket.pause());
  const connection = await pool.open(key());
  const handler = recorder();
  connection.handler = handler;
  while (connection.socket.write(Buffer.alloc(256 * 1024)));
  connection.release();
  await until(() => connection.socket.destroyed, 'unwritten bytes: not kept');
  const second = await pool.open(key());
  second.handler = handler;
  while (second.socket.write(Buffer.alloc(256 * 1024)));
  for (const each of server.sockets) each.resume();
  await until(() => handler.events.includes('drain'), 'drain');
  second.destroy();
});

t.test('a byte, an end or a reset while idle discards the connection', async (t) => {
  const { pool, key, server } = await bench(t);
  const faults: Record<string, (socket: tls.TLSSocket) => void> = {
    byte: (socket) => socket.write('HTTP/1.1 200 OK\r\n\r\n'),
    end: (socket) => socket.end(),
    reset: () => server.reset(),
  };
  for (const [what, commit] of Object.entries(faults)) {
    const connection = await pool.open(key());
    await exchange(connection);
    t.equal(pool.idleCount, 1);
    for (const socket of server.sockets) commit(socket);
    await until(() => pool.idleCount === 0, what);
    t.equal(pool.takeIdle(key()), undefined, what);
    t.ok(connection.socket.destroyed, what);
    await until(() => server.sockets.size === 0, `${what}: closed`);
  }
});

t.test('a connection with more bytes than its answer is not kept', async (t) => {
  const { pool, key, server } = await bench(t);
  const connection = await pool.open(key());
  await until(() => server.sockets.size === 1, 'accepted');
  connection.socket.pause();
  for (const socket of server.sockets) socket.write('surplus');
  await until(() => connection.socket.readableLength > 0, 'buffered');
  connection.release();
  t.equal(pool.idleCount, 0);
  t.ok(connection.socket.destroyed);
});

t.test('a connection that was paused still notices its end while idle', async (t) => {
  const { pool, key, server } = await bench(t);
  const connection = await pool.open(key());
  await exchange(connection);
  pool.takeIdle(key());
  connection.socket.pause();
  connection.release();
  t.equal(pool.idleCount, 1);
  for (const socket of server.sockets) socket.end();
  await until(() => pool.idleCount === 0, 'discarded');
});

t.test('releasing twice does not lend a connection twice', async (t) => {
  const { pool, key } = await bench(t);
  const connection = await pool.open(key());
  connection.release();
  connection.release();
  t.equal(pool.takeIdle(key()), connection);
  t.equal(pool.takeIdle(key()), undefined);
});

t.test('idle time, age and the bound on all close connections', async (t) => {
  await t.test('idle time', async (t) => {
    const { pool, key, server } = await bench(t, { limits: { idleTimeoutMs: 80 } });
    await exchange(await pool.open(key()));
    await sleep(30);
    t.equal(pool.idleCount, 1);
    await until(() => pool.openCount === 0 && server.sockets.size === 0, 'closed unasked');
  });
  await t.test('age', async (t) => {
    const { pool, key } = await bench(t, { limits: { maxAgeMs: 60 } });
    const connection = await pool.open(key());
    await exchange(connection);
    t.equal(pool.takeIdle(key()), connection);
    connection.release();
    await sleep(70);
    t.equal(pool.takeIdle(key()), undefined);
    const used = await pool.open(key());
    await sleep(70);
    used.release();
    t.equal(pool.idleCount, 0);
  });
  await t.test('the oldest goes when there are too many', async (t) => {
    const { pool, key } = await bench(t, { limits: { maxIdle: 3 } });
    const opened = await Promise.all(['a', 'b', 'c', 'd'].map((agent) => pool.open(key({ agent }))));
    for (const each of opened) await exchange(each);
    t.equal(pool.idleCount, 3);
    t.equal(pool.takeIdle(key({ agent: 'a' })), undefined);
    t.equal(opened[0]?.socket.destroyed, true);
    t.ok(pool.takeIdle(key({ agent: 'b' })));
  });
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  t.test(`${version}: the second connection is resumed, and verified still`, async (t) => {
    const { pool, key } = await bench(t, {}, { minVersion: version, maxVersion: version });
    const connect = async (rest: Partial<UpstreamKey> = {}): Promise<boolean> => {
      const connection = await pool.open(key(rest));
      await exchange(connection); // the tickets of TLS 1.3 come with the answer
      t.equal(connection.socket.authorized, true);
      t.equal(connection.socket.getProtocol(), version);
      const resumed = connection.socket.isSessionReused();
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
    pool.forget('c1');
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
    t.equal(resumed.socket.isSessionReused(), true);
    await exchange(resumed);
    await sleep(Math.max(0, soon.notAfter.getTime() - Date.now() + 50));
    await t.rejects(pool.open(key()), { code: 'upstream_untrusted', message: /expired/ });
  });
}

t.test('a ticket of TLS 1.3 is offered once', async (t) => {
  const { pool, key } = await bench(t, {}, { minVersion: 'TLSv1.3' });
  await exchange(await pool.open(key())); // two tickets
  const several = await Promise.all(Array.from({ length: 5 }, () => pool.open(key())));
  const resumed = several.filter(({ socket }) => socket.isSessionReused());
  t.equal(resumed.length, 2, 'as many as there were tickets');
});

t.test('a server that renews its tickets is resumed every time', async (t) => {
  const folder = t.testdir({ cert: certificate.cert, key: certificate.key });
  const files = ['-cert', `${folder}/cert`, '-key', `${folder}/key`];
  const server = spawn('openssl', ['s_server', '-accept', '127.0.0.1:0', '-tls1_3', '-rev', ...files], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => server.kill('SIGKILL'));
  let port = 0;
  server.stdout.on('data', (chunk: Buffer) => {
    port ||= Number(/ACCEPT 127\.0\.0\.1:(\d+)/.exec(chunk.toString())?.[1] ?? 0);
  });
  await until(() => port > 0, 'openssl listens');
  const { pool, key } = await bench(t, {
    resolver: new Resolver({
      overrides: [{ host: 'good.test', port: 443, address: '127.0.0.1', toPort: port }],
      timeoutMs: 1000,
      maxConcurrentPerAgent: 4,
      hostsFile: '/nonexistent',
    }),
  });
  for (let i = 0; i < 8; i++) {
    const connection = await pool.open(key());
    t.equal(connection.socket.isSessionReused(), i > 0, `connection ${i + 1}`);
    t.equal(connection.socket.authorized, true);
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
      ['forget', () => pool.forget('c1'), true],
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

t.test('a closed pool opens nothing, and tells those in use', async (t) => {
  const { pool, key } = await bench(t);
  const used = await pool.open(key());
  const handler = recorder();
  used.handler = handler;
  const opening = pool.open(key());
  pool.close();
  await t.rejects(opening, { code: 'draining' });
  await t.rejects(pool.open(key()), { code: 'draining' });
  await until(() => handler.events.includes('close'), 'told');
  await until(() => pool.openCount === 0, 'all gone');
});

t.test('an abort or a failure leaves no connection behind', async (t) => {
  const { pool, key, server } = await bench(t);
  const outcomes = await Promise.allSettled(
    Array.from({ length: 60 }, async (_, i) => {
      const abort = new AbortController();
      setTimeout(() => abort.abort(new Error('left')), i / 2);
      const connection = await pool.open(key(), abort.signal);
      connection.destroy();
    }),
  );
  t.ok(
    outcomes.some(({ status }) => status === 'rejected'),
    'some were aborted',
  );
  await t.rejects(pool.open(key({ host: 'evil.test' })), { code: 'upstream_untrusted' });
  await until(() => pool.openCount === 0 && server.open() === 0, 'all closed');
});

t.test('roots that are no PEM are refused by name; none at all trust nobody', async (t) => {
  const { pool, key } = await bench(t, { ca: { system: '', extra: '' } });
  await t.rejects(pool.open(key()), { code: 'upstream_untrusted' });
  const torn = ca.cert.replace(/[A-Za-z0-9+/]{20}/, '????????????????????');
  for (const extra of ['nonsense', `${ca.cert}${torn}`, certificate.key]) {
    t.throws(() => pool.retrust({ system: '', extra }), { code: 'invalid_settings' });
  }
});

t.test('the events of one connection do not pile up listeners', async (t) => {
  const { pool, key } = await bench(t);
  const connection = await pool.open(key());
  const count = (): number =>
    connection.socket.eventNames().reduce((sum, name) => sum + connection.socket.listenerCount(name), 0);
  await exchange(connection);
  const before = count();
  for (let i = 0; i < 100; i++) {
    const taken = pool.takeIdle(key());
    if (taken) await exchange(taken);
  }
  t.equal(count(), before);
});
