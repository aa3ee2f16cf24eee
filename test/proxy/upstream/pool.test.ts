import { setTimeout as sleep } from 'node:timers/promises';
import type tls from 'node:tls';
import t from 'tap';
import { bench, exchange, recorder, until } from './pool-bench.ts';

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
  await sleep(50); // until they are here, unread
  connection.release();
  await until(() => connection.socket.destroyed, 'discarded');
  t.equal(pool.idleCount, 0);
});

t.test('a connection that was paused flows again and notices its end', async (t) => {
  const { pool, key, server } = await bench(t);
  const connection = await pool.open(key());
  await exchange(connection);
  pool.takeIdle(key());
  connection.socket.pause();
  connection.release();
  await until(() => pool.idleCount === 1, 'given back');
  t.equal(pool.takeIdle(key()), connection);
  await exchange(connection);
  t.equal(pool.idleCount, 1, 'the next exchange gets its answer');
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
