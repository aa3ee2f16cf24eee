import { once } from 'node:events';
import net from 'node:net';
import t, { type Test } from 'tap';
import { makeCa, makeServerCert } from '../../support/certificates.ts';
import { portOf, startTlsServer } from '../../support/tls-server.ts';
import { freePort, TestWorker, type WorkerOptions } from '../../support/worker.ts';
import { End } from '../listener/end.ts';

const SECRET = 'sesame-open-0123456789abcdef';
const ca = makeCa();

/** A company's proxy: answers each CONNECT as `answer` says, and leads a 200 to the port that it names. */
class CompanyProxy {
  readonly heads: string[] = [];
  answer = 'HTTP/1.1 200 Connection established\r\n\r\n';
  port = 0;
  leadsTo = 0;

  static async start(t: Test): Promise<CompanyProxy> {
    const proxy = new CompanyProxy();
    const sockets = new Set<net.Socket>();
    const server = net.createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      let head = '';
      const read = (chunk: Buffer): void => {
        head += chunk.toString('latin1');
        if (!head.endsWith('\r\n\r\n')) return;
        socket.off('data', read);
        proxy.heads.push(head);
        if (proxy.answer === '') return;
        socket.write(proxy.answer, 'latin1');
        if (!proxy.answer.startsWith('HTTP/1.1 200')) return;
        const upstream = net.connect(proxy.leadsTo, '127.0.0.1');
        upstream.on('error', () => socket.destroy());
        socket.pipe(upstream);
        upstream.pipe(socket);
      };
      socket.on('data', read);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    proxy.port = portOf(server);
    t.teardown(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    return proxy;
  }
}

async function start(t: Test, more: Partial<WorkerOptions> = {}, user: string | null = 'us%er') {
  const proxy = await CompanyProxy.start(t);
  const worker = await TestWorker.start({
    upstreams: {},
    upstreamCa: ca.cert,
    upstreamAllow: [],
    upstreamProxy: { host: 'localhost', port: proxy.port, user },
    ...(user !== null && { upstreamProxyPassword: 'pass:wörd\n' }),
    rules: [
      { host: 'far.test' },
      { host: 'plain.test', port: 80, plainHttp: true, id: 'plain' },
      { host: '2001:470::1', id: 'six' },
      { host: 'localhost', id: 'local' },
    ],
    secrets: { 'credential-1': { token: SECRET } },
    ...more,
  });
  t.teardown(() => worker.stop());
  return { proxy, worker };
}

async function serve(t: Test, proxy: CompanyProxy, hosts: string | string[] = 'far.test') {
  const ends: End[] = [];
  const server = await startTlsServer(makeServerCert(ca, hosts), (socket) => ends.push(new End(socket)));
  t.teardown(() => server.close());
  proxy.leadsTo = server.port;
  return { server, ends };
}

const AUTHORIZATION = `Proxy-Authorization: Basic ${Buffer.from('us%er:pass:wörd').toString('base64')}\r\n`;

async function get(worker: TestWorker, host: string): Promise<End> {
  const agent = new End(await worker.tunnel(`${host}:443`));
  agent.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  return agent;
}

t.test('a connection is one CONNECT, with the password; TLS to the server runs inside', async (t) => {
  const { proxy, worker } = await start(t);
  const { server, ends } = await serve(t, proxy);
  for (let i = 0; i < 2; i++) {
    const agent = await get(worker, 'far.test');
    while (ends.length === 0) await new Promise(setImmediate);
    const end = ends.at(-1);
    t.match(await end?.readTo('\r\n\r\n'), `Authorization: Bearer ${SECRET}\r\n`);
    end?.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    t.match(await agent.readTo('ok'), /^HTTP\/1\.1 200 OK\r\n/);
  }
  t.same(proxy.heads, [`CONNECT far.test:443 HTTP/1.1\r\nHost: far.test:443\r\n${AUTHORIZATION}\r\n`]);
  t.equal(server.accepted(), 1, 'pooled like any other');
});

t.test('sessions are resumed through it', async (t) => {
  const { proxy, worker } = await start(t);
  const resumed: boolean[] = [];
  const server = await startTlsServer(makeServerCert(ca, 'far.test'), (socket) => {
    resumed.push(socket.isSessionReused());
    socket.once('data', () =>
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'),
    );
  });
  t.teardown(() => server.close());
  proxy.leadsTo = server.port;
  for (let i = 0; i < 3; i++) {
    const agent = await get(worker, 'far.test');
    t.match(await agent.readTo('\r\n\r\n'), /^HTTP\/1\.1 200 /);
  }
  t.same(resumed, [false, true, true]);
});

t.test('the certificate is verified as ever', async (t) => {
  const { proxy, worker } = await start(t);
  await serve(t, proxy, 'other.test');
  const agent = await get(worker, 'far.test');
  t.match(
    await agent.readTo('\r\n\r\n'),
    /^HTTP\/1\.1 502 [^\r]*\r\n(?:.+\r\n)*X-Sallyport-Error: upstream_untrusted\r\n/,
  );
});

t.test('without a user nothing is said of one; an IPv6 address has its brackets', async (t) => {
  const { proxy, worker } = await start(t, {}, null);
  const { ends } = await serve(t, proxy, '2001:470::1');
  const agent = new End(
    await worker.tunnel('[2001:470::1]:443', { servername: '', checkServerIdentity: () => undefined }),
  );
  agent.send('GET / HTTP/1.1\r\nHost: [2001:470::1]\r\n\r\n');
  while (ends.length === 0) await new Promise(setImmediate);
  t.match(await ends[0]?.readTo('\r\n\r\n'), 'Host: [2001:470::1]\r\n');
  t.same(proxy.heads, ['CONNECT [2001:470::1]:443 HTTP/1.1\r\nHost: [2001:470::1]:443\r\n\r\n']);
});

t.test(
  'plain requests and what is passed on go the same way; a server that speaks at once is heard',
  async (t) => {
    const { proxy, worker } = await start(t);
    await worker.change(({ agents }) => ({
      agents: agents.map((agent) => ({ ...agent, unlisted: 'tunnel' as const })),
    }));
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    proxy.leadsTo = portOf(server);
    const authorization = `Proxy-Authorization: Basic ${Buffer.from(`bot:${worker.token}`).toString('base64')}\r\n`;

    let accepted = once(server, 'connection');
    const plain = await End.connect(worker.port);
    plain.send(`GET http://plain.test/a HTTP/1.1\r\nHost: plain.test\r\n${authorization}\r\n`);
    const [socket]: net.Socket[] = await accepted;
    if (!socket) throw new Error('nothing came');
    const end = new End(socket);
    t.match(await end.readTo('\r\n\r\n'), `Authorization: Bearer ${SECRET}\r\n`);
    end.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    t.match(await plain.readTo('ok'), /ok$/);

    proxy.answer = 'HTTP/1.1 200 OK\r\n\r\nSSH-2.0-hello';
    accepted = once(server, 'connection');
    const passed = await End.connect(worker.port);
    passed.send(`CONNECT open.test:22 HTTP/1.1\r\nHost: open.test:22\r\n${authorization}\r\n`);
    t.match(
      await passed.readTo('SSH-2.0-hello'),
      /\r\n\r\nSSH-2\.0-hello$/,
      'what came with the answer is not lost',
    );
    const [upstream]: net.Socket[] = await accepted;
    passed.send('back');
    t.equal(String(await once(upstream ?? passed.socket, 'data')), 'back');
    t.same(
      proxy.heads.map((head) => head.slice(0, head.indexOf('\r'))),
      ['CONNECT plain.test:80 HTTP/1.1', 'CONNECT open.test:22 HTTP/1.1'],
    );
    plain.socket.destroy();
    passed.socket.destroy();
    upstream?.destroy();
  },
);

t.test('what it answers instead is told, and never its own words', async (t) => {
  const { proxy, worker } = await start(t, { limits: { connectTimeoutMs: 700 } });
  const rows: readonly [string, RegExp][] = [
    [
      'HTTP/1.1 407 Secret reason\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n',
      /502 .*upstream_unreachable.*password \(407\)/,
    ],
    ['HTTP/1.1 403 Secret reason\r\nContent-Length: 0\r\n\r\n', /502 .*upstream_unreachable.*answered 403/],
    ['HTTP/1.1 101 Switching\r\n\r\n', /502 .*upstream_unreachable.*answered 101/],
    ['no HTTP\r\n\r\n', /502 .*upstream_invalid/],
    [`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(20_000)}`, /502 .*upstream_invalid/],
    ['', /504 .*upstream_timeout/],
  ];
  for (const [answer, expected] of rows) {
    proxy.answer = answer;
    const agent = await get(worker, 'far.test');
    const head = await agent.readTo('\r\n\r\n');
    const body = await agent.read(Number(/Content-Length: (\d+)/.exec(head)?.[1] ?? 0));
    t.match(`${head} ${body}`.replaceAll('\r\n', ' '), expected, answer.slice(0, 30));
    t.notMatch(body, 'Secret reason');
    agent.socket.destroy();
  }
});

t.test('where it cannot be reached, that is said, and not where it is', async (t) => {
  const port = await freePort();
  const { worker } = await start(t, { upstreamProxy: { host: 'localhost', port, user: null } });
  const agent = await get(worker, 'far.test');
  const head = await agent.readTo('\r\n\r\n');
  const body = await agent.read(Number(/Content-Length: (\d+)/.exec(head)?.[1] ?? 0));
  t.match(
    `${head}${body}`,
    /^HTTP\/1\.1 502 [\s\S]*The proxy that leads out cannot be used \(it does not answer\)/,
  );
  t.notMatch(body, String(port));
  agent.socket.destroy();
});

t.test('the address guard looks at what it can, before the proxy is asked', async (t) => {
  const { proxy, worker } = await start(t);
  await worker.change(({ agents, rules }) => ({
    agents: agents.map((agent) => ({ ...agent, unlisted: 'tunnel' as const })),
    rules: rules.slice(0, 1),
  }));
  for (const authority of [
    'localhost:443',
    'a.localhost:443',
    'localhost.localdomain:443',
    'metadata.google.internal:80',
    'METADATA.goog.:443',
    'instance-data:80',
    '169.254.169.254:80',
    '10.1.2.3:443',
    '127.0.0.1:443',
    '[::ffff:127.0.0.1]:443',
    `127.0.0.1:${worker.port}`,
    `127.0.0.1:${proxy.port}`,
  ]) {
    await t.rejects(worker.connect(authority), { message: /^HTTP\/1\.1 403 / }, authority);
  }
  t.same(proxy.heads, []);
});

t.test('what --upstream-resolve and --upstream-allow name does not go through it', async (t) => {
  const server = await startTlsServer(makeServerCert(ca, ['far.test', 'localhost']));
  t.teardown(() => server.close());
  const { proxy, worker } = await start(t, {
    upstreams: { 'far.test:443': server.port },
    upstreamAllow: ['127.0.0.0/8', '::1'],
    rules: [{ host: 'far.test' }, { host: 'localhost', port: server.port, id: 'local' }],
  });
  const far = await get(worker, 'far.test');
  while (server.accepted() === 0) await new Promise(setImmediate);
  const local = new End(await worker.tunnel(`localhost:${server.port}`));
  local.send(`GET / HTTP/1.1\r\nHost: localhost:${server.port}\r\n\r\n`);
  while (server.accepted() < 2) await new Promise(setImmediate);
  t.same(proxy.heads, []);
  far.socket.destroy();
  local.socket.destroy();
});
