import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import { AddressGuard } from '../../src/upstream/address-guard.ts';
import { Connector, type Target } from '../../src/upstream/connect.ts';
import type { DnsQuery } from '../../src/upstream/dns-query.ts';
import { Resolver } from '../../src/upstream/resolve.ts';
import { makeCa, makeServerCert } from '../support/certificates.ts';
import { portOf, startTlsServer, type TlsServer } from '../support/tls-server.ts';

const ca = makeCa();
const good = makeServerCert(ca, ['good.test', '127.0.0.1', '::1']);
const secureContext = tls.createSecureContext({ ca: [ca.cert], minVersion: 'TLSv1.2' });

interface Setup {
  readonly answers?: Record<string, readonly string[]>;
  readonly overrides?: readonly { host: string; port: number; address: string; toPort: number }[];
  readonly timeoutMs?: number;
  readonly attemptDelayMs?: number;
  readonly allow?: readonly string[];
  readonly ownListeners?: readonly { host: string; port: number }[];
}

function connector(setup: Setup = {}): Connector {
  const {
    answers = {},
    overrides = [],
    timeoutMs = 5000,
    allow = ['127.0.0.0/8', '::1'],
    ownListeners = [],
  } = setup;
  const find = (name: string, six: boolean): string[] =>
    (answers[name] ?? []).filter((address) => address.includes(':') === six);
  const query: DnsQuery = {
    resolve4: async (name) => find(name, false),
    resolve6: async (name) => find(name, true),
  };
  return new Connector({
    guard: new AddressGuard({ allow, ownListeners }),
    resolver: new Resolver({
      overrides,
      timeoutMs: 5000,
      maxConcurrentPerAgent: 8,
      hostsFile: '/nonexistent',
      query,
    }),
    timeoutMs,
    attemptDelayMs: setup.attemptDelayMs ?? 250,
  });
}

function target(host: string, port: number, rest: Partial<Target> = {}): Target {
  return { host, port, agent: 'agent', secureContext, onSession: () => {}, ...rest };
}

async function server(t: Test, ...args: Parameters<typeof startTlsServer>): Promise<TlsServer> {
  const started = await startTlsServer(...args);
  t.teardown(() => started.close());
  return started;
}

/** A TCP port on loopback where nothing listens. */
async function closedPort(): Promise<number> {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const port = portOf(probe);
  probe.close();
  await once(probe, 'close');
  return port;
}

t.test('a verified connection: the name in SNI, ALPN http/1.1, TLS 1.2 and 1.3', async (t) => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const names: string[] = [];
    const { port } = await server(t, good, undefined, {
      minVersion: version,
      maxVersion: version,
      SNICallback: (name, done) => {
        names.push(name);
        done(null);
      },
    });
    const socket = await connector({ answers: { 'good.test': ['127.0.0.1'] } }).connect(
      target('good.test', port),
    );
    t.equal(socket.authorized, true);
    t.equal(socket.getProtocol(), version);
    t.equal(socket.alpnProtocol, 'http/1.1');
    t.equal(socket.remoteAddress, '127.0.0.1');
    t.strictSame(names, ['good.test']);
    socket.destroy();
  }
});

t.test('an IP literal is verified against the addresses of the certificate, without SNI', async (t) => {
  const names: string[] = [];
  const { port } = await server(t, good, undefined, {
    SNICallback: (name, done) => {
      names.push(name);
      done(null);
    },
  });
  const socket = await connector().connect(target('127.0.0.1', port));
  t.equal(socket.authorized, true);
  socket.destroy();
  t.strictSame(names, []);
  const overrides = [{ host: '192.0.2.7', port: 443, address: '127.0.0.1', toPort: port }];
  await t.rejects(
    connector({ overrides }).connect(target('192.0.2.7', 443)),
    { code: 'upstream_untrusted', message: /192\.0\.2\.7/ },
    'the address that was asked for counts, not the one that was dialled',
  );
});

t.test(
  'a certificate that is not of the name, expired, not yet valid or of another authority is refused',
  async (t) => {
    const day = 86_400_000;
    const past = { notBefore: new Date(Date.now() - 2 * day), notAfter: new Date(Date.now() - day) };
    const future = { notBefore: new Date(Date.now() + day), notAfter: new Date(Date.now() + 2 * day) };
    const other = makeCa(ca.name);
    const rows = [
      ['wrong name', makeServerCert(ca, 'evil.test'), /bad\.test.*altnames|Host: bad\.test/],
      ['a name below the wildcard', makeServerCert(ca, '*.bad.test'), /bad\.test/],
      ['no name', makeServerCert(ca, []), /bad\.test/],
      [
        'expired',
        makeServerCert(ca, 'bad.test', past),
        /bad\.test:\d+ was not accepted: certificate has expired/,
      ],
      ['not yet valid', makeServerCert(ca, 'bad.test', future), /not yet valid/],
      ['another authority of the same name', makeServerCert(other, 'bad.test'), /bad\.test/],
      ['self-signed', makeCa('bad.test'), /bad\.test/],
    ] as const;
    for (const [what, certificate, message] of rows) {
      const { port, open } = await server(t, certificate);
      await t.rejects(
        connector({ answers: { 'bad.test': ['127.0.0.1'] } }).connect(target('bad.test', port)),
        { code: 'upstream_untrusted', message },
        what,
      );
      await sleep(20);
      t.equal(open(), 0, `${what}: nothing stays open`);
    }
  },
);

t.test('no roots means no trust, not Node’s own roots', async (t) => {
  const { port } = await server(t, good);
  const empty = tls.createSecureContext({ ca: [] });
  await t.rejects(connector().connect(target('127.0.0.1', port, { secureContext: empty })), {
    code: 'upstream_untrusted',
  });
});

t.test('what does not listen, does not speak TLS or hangs up is unreachable', async (t) => {
  await t.rejects(connector().connect(target('127.0.0.1', await closedPort())), {
    code: 'upstream_unreachable',
    message: /ECONNREFUSED/,
  });
  const greet = net.createServer((socket) => socket.on('error', () => {}).end('220 smtp ready\r\n'));
  const hangUp = net.createServer((socket) => socket.on('error', () => {}).end());
  for (const plain of [greet, hangUp]) {
    plain.listen(0, '127.0.0.1');
    await once(plain, 'listening');
    t.teardown(() => plain.close());
    await t.rejects(connector().connect(target('127.0.0.1', portOf(plain))), {
      code: 'upstream_unreachable',
    });
  }
  const { port } = await server(t, good, undefined, { ALPNProtocols: ['h2'] });
  await t.rejects(
    connector().connect(target('127.0.0.1', port)),
    { code: 'upstream_unreachable' },
    'only h2',
  );
  const old = await server(t, good, undefined, {
    minVersion: 'TLSv1.1',
    maxVersion: 'TLSv1.1',
    ciphers: 'ALL:@SECLEVEL=0',
  });
  await t.rejects(
    connector().connect(target('127.0.0.1', old.port)),
    { code: 'upstream_unreachable' },
    'TLS 1.1',
  );
  await t.rejects(connector().connect(target('none.test', 443)), { code: 'upstream_unresolved' });
});

t.test('one forbidden answer refuses the whole name, and nothing is dialled', async (t) => {
  let connections = 0;
  const trap = net.createServer(() => connections++).listen(0, '127.0.0.1');
  await once(trap, 'listening');
  t.teardown(() => trap.close());
  const port = portOf(trap);
  const answers = {
    'mixed.test': ['127.0.0.1', '10.0.0.1'],
    'metadata.test': ['127.0.0.1', '169.254.169.254'],
    'mapped.test': ['127.0.0.1', '::ffff:10.0.0.1'],
    'own.test': ['127.0.0.1'],
  };
  const ownListeners = [{ host: '0.0.0.0', port }];
  for (const name of Object.keys(answers)) {
    const own = name === 'own.test' ? { ownListeners } : {};
    await t.rejects(
      connector({ answers, ...own }).connect(target(name, port)),
      { code: 'address_forbidden' },
      name,
    );
  }
  const closed = connector({ answers, allow: [] });
  await t.rejects(closed.connect(target('localhost', port)), { code: 'address_forbidden' });
  const overrides = [{ host: 'over.test', port: 443, address: '127.0.0.1', toPort: port }];
  await t.rejects(connector({ overrides, ownListeners }).connect(target('over.test', 443)), {
    code: 'address_forbidden',
  });
  t.equal(connections, 0);
});

t.test('the address that was checked is the one dialled: the name is not asked for again', async (t) => {
  const { port } = await server(t, good);
  let asked = 0;
  const query: DnsQuery = {
    resolve4: async () => (asked++ === 0 ? ['127.0.0.1'] : ['10.0.0.1']),
    resolve6: async () => [],
  };
  const resolver = new Resolver({
    overrides: [],
    timeoutMs: 1000,
    maxConcurrentPerAgent: 1,
    hostsFile: '/none',
    query,
  });
  const guard = new AddressGuard({ allow: ['127.0.0.0/8'], ownListeners: [] });
  const socket = await new Connector({ guard, resolver, timeoutMs: 1000 }).connect(target('good.test', port));
  t.equal(asked, 1);
  socket.destroy();
});

t.test('an address that refuses is followed by the next at once', async (t) => {
  const { port } = await server(t, good);
  const started = performance.now();
  const answers = { 'good.test': ['::1', '127.0.0.9', '127.0.0.1'] };
  const socket = await connector({ answers }).connect(target('good.test', port));
  t.ok(performance.now() - started < 200);
  t.equal(socket.remoteAddress, '127.0.0.1');
  socket.destroy();
});

t.test('an address that is silent is joined by the next after 250 ms', async (t) => {
  const { port } = await server(t, good);
  await listenSilently(t, '127.0.0.5', port);
  const slow = connector({ answers: { 'good.test': ['127.0.0.5', '127.0.0.1'] } });
  const started = performance.now();
  const socket = await slow.connect(target('good.test', port));
  const took = performance.now() - started;
  t.ok(took > 200 && took < 1500, `${took} ms`);
  t.equal(socket.remoteAddress, '127.0.0.1');
  socket.destroy();
});

t.test('of two addresses that answer, one is used and the other closed without a handshake', async (t) => {
  const greet = (socket: tls.TLSSocket): void => {
    socket.write('hello');
  };
  const first = await server(t, good, greet);
  const second = await server(t, good, greet, {}, { host: '127.0.0.6', port: first.port });
  let dialled = 0;
  for (const each of [first, second]) each.server.on('connection', () => dialled++);
  const both = connector({ answers: { 'good.test': ['127.0.0.1', '127.0.0.6'] }, attemptDelayMs: 0 });
  for (let i = 0; i < 20; i++) {
    const socket = await both.connect(target('good.test', first.port));
    await once(socket, 'data');
    socket.destroy();
  }
  await sleep(50);
  t.equal(first.accepted() + second.accepted(), 20);
  t.equal(first.open() + second.open(), 0);
  t.comment(`${dialled} connections for 20`);
});

/**
 * Lets nobody in at `host`:`port`: a process that listens with a full backlog and never accepts, so that the kernel
 * leaves further connections unanswered.
 */
async function listenSilently(t: Test, host: string, port: number): Promise<void> {
  const script = `require('net').createServer().listen({ host: '${host}', port: ${port}, backlog: 1 }, () => {
    require('fs').writeSync(1, 'ready');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 15000);
  });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const sockets: net.Socket[] = [];
  t.teardown(() => {
    child.kill('SIGKILL');
    for (const socket of sockets) socket.destroy();
  });
  await once(child.stdout, 'data');
  for (let i = 0; i < 8; i++) {
    const socket = net.connect({ host, port }).on('error', () => {});
    sockets.push(socket);
    const connected = once(socket, 'connect').then(() => true);
    if (!(await Promise.race([connected, sleep(150, false)]))) return;
  }
  throw new Error('The kernel answers beyond the backlog.');
}

t.test('the time limit covers name, TCP and TLS', async (t) => {
  const mute = net.createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1');
  await once(mute, 'listening');
  t.teardown(() => mute.close());
  const started = performance.now();
  await t.rejects(connector({ timeoutMs: 150 }).connect(target('127.0.0.1', portOf(mute))), {
    code: 'upstream_timeout',
  });
  t.ok(performance.now() - started < 1000);
  await sleep(30);
  t.equal(await new Promise((resolve) => mute.getConnections((_, count) => resolve(count))), 0, 'closed');

  const never: DnsQuery = { resolve4: () => new Promise(() => {}), resolve6: () => new Promise(() => {}) };
  const resolver = new Resolver({
    overrides: [],
    timeoutMs: 400,
    maxConcurrentPerAgent: 1,
    hostsFile: '/none',
    query: never,
  });
  const guard = new AddressGuard({ allow: [], ownListeners: [] });
  const slow = new Connector({ guard, resolver, timeoutMs: 100 });
  await t.rejects(slow.connect(target('good.test', 443)), { code: 'upstream_timeout' });
});

t.test('an abort ends the attempt at once with the signal’s reason', async (t) => {
  const mute = net.createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1');
  await once(mute, 'listening');
  t.teardown(() => mute.close());
  const abort = new AbortController();
  const reason = new Error('the agent left');
  const pending = connector().connect(target('127.0.0.1', portOf(mute)), abort.signal);
  setTimeout(() => abort.abort(reason), 50);
  const started = performance.now();
  await t.rejects(pending, reason);
  t.ok(performance.now() - started < 150);
  await t.rejects(
    connector().connect(target('127.0.0.1', portOf(mute)), abort.signal),
    reason,
    'before it began',
  );
  await sleep(30);
  t.equal(await new Promise((resolve) => mute.getConnections((_, count) => resolve(count))), 0, 'closed');
});

t.test('small writes one after another are not held back (Nagle)', async (t) => {
  const { port } = await server(t, good, (socket) => {
    let seen = 0;
    socket.on('data', (chunk: Buffer) => {
      seen += chunk.length;
      if (seen % 2 === 0) socket.write('x');
    });
  });
  const socket = await connector().connect(target('127.0.0.1', port));
  const started = performance.now();
  for (let i = 0; i < 20; i++) {
    socket.write('a');
    await sleep(1);
    socket.write('b');
    await once(socket, 'data');
  }
  t.ok(performance.now() - started < 400, 'delayed acknowledgements would cost 40 ms each');
  socket.destroy();
});
