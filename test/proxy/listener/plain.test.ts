import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import type { End } from './end.ts';
import { connect, ESTABLISHED, type Scene, SECRET, startScene } from './scene.ts';

/** open.test has no rule, plain.test one whose service allows plain http, secure.test one whose service does not. */
async function start(t: Test, unlisted: 'deny' | 'tunnel' = 'tunnel'): Promise<Scene> {
  const scene = await startScene(t, {
    plain: ['open.test:80', 'open.test:8080', 'plain.test:80', 'secure.test:80', 'secure.test:8443'],
    secure: ['secure.test:443'],
    rules: [
      { host: 'plain.test', port: 80, plainHttp: true },
      { host: 'secure.test', port: 443 },
      { host: 'secure.test', port: 8443, id: 'rule-8443' },
    ],
  });
  await scene.worker.change(({ agents }) => ({ agents: agents.map((agent) => ({ ...agent, unlisted })) }));
  return scene;
}

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

async function ask(scene: Scene, request: string, more = scene.authorization): Promise<End> {
  const agent = await scene.agent();
  agent.send(request.replace('\r\n\r\n', `\r\n${more}\r\n`));
  return agent;
}

/** The status, our code and the body of an answer that leaves the connection open. */
async function answer(agent: End): Promise<string> {
  const head = await agent.readTo('\r\n\r\n');
  const length = Number(/Content-Length: (\d+)/.exec(head)?.[1] ?? 0);
  const body = await agent.read(length);
  const code = /X-Sallyport-Error: (\w+)/.exec(head)?.[1];
  return `${head.slice(9, 12)} ${code ?? body}${head.includes('Connection: close') ? ' close' : ''}`;
}

t.test('a host that no rule names gets what the agent sent, without what was for the proxy', async (t) => {
  const scene = await start(t);
  const agent = await ask(
    scene,
    'POST http://OPEN.test:80/a?b HTTP/1.1\r\nhost: OPEN.TEST\r\nProxy-Connection: keep-alive\r\nAccept-Encoding: br\r\nauthorization: mine\r\nContent-Length: 4\r\n\r\nbody',
  );
  const server = await scene.upstream('open.test:80');
  const expected =
    'POST /a?b HTTP/1.1\r\nhost: OPEN.TEST\r\nAccept-Encoding: br\r\nauthorization: mine\r\nContent-Length: 4\r\n\r\nbody';
  t.equal(await server.read(expected.length), expected);
  server.send(OK);
  t.equal(await agent.read(OK.length), OK);
  await delay(20);
  const [request, outcome] = scene.worker.journal
    .split('\n')
    .filter((line) => line.includes('"id"'))
    .map((line) => JSON.parse(line));
  t.match(request, {
    agent: 'bot',
    method: 'POST',
    host: 'open.test',
    port: 80,
    path: '/a',
    service: null,
    credential: null,
    version: null,
    decision: 'passed',
    reason: 'unlisted',
  });
  t.match(outcome, { status: 200, error: null });
});

t.test('a service that allows plain http gets its credential there, at its own port', async (t) => {
  const scene = await start(t);
  const agent = await ask(scene, 'GET http://plain.test/x HTTP/1.1\r\nHost: plain.test\r\n\r\n');
  const server = await scene.upstream('plain.test:80');
  const expected = `GET /x HTTP/1.1\r\nHost: plain.test\r\nAccept-Encoding: identity\r\nAuthorization: Bearer ${SECRET}\r\n\r\n`;
  t.equal(await server.read(expected.length), expected);
  server.send(`HTTP/1.1 200 OK\r\nX-Echo: ${SECRET}\r\nContent-Length: 2\r\n\r\nok`);
  t.equal(
    await agent.readTo('ok'),
    `HTTP/1.1 200 OK\r\nX-Echo: ${'*'.repeat(SECRET.length)}\r\nContent-Length: 2\r\n\r\nok`,
    'searched as ever',
  );
});

t.test('a service that does not is asked for over TLS alone', async (t) => {
  const scene = await start(t);
  for (const authority of ['secure.test', 'secure.test:443', 'secure.test:8443']) {
    const agent = await ask(scene, `GET http://${authority}/ HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    t.equal(await answer(agent), '403 policy_denied', authority);
  }
  t.equal(scene.waiting('secure.test:80') + scene.waiting('secure.test:8443'), 0);
  t.equal(scene.worker.asked.filter(({ type }) => type === 'secret').length, 0, 'no secret was asked for');
  const other = await ask(scene, 'GET http://secure.test:99/ HTTP/1.1\r\nHost: secure.test:99\r\n\r\n');
  t.equal(await answer(other), '403 host_not_granted');
});

t.test('without the right to it, a host that no rule names is refused', async (t) => {
  const scene = await start(t, 'deny');
  const agent = await ask(scene, 'GET http://open.test/ HTTP/1.1\r\nHost: open.test\r\n\r\n');
  t.equal(await answer(agent), '403 host_not_granted');
  t.equal(scene.waiting('open.test:80'), 0);
});

t.test('one connection carries requests to many hosts, each answered in its turn', async (t) => {
  const scene = await start(t);
  const agent = await scene.agent();
  const get = (authority: string): string =>
    `GET http://${authority}/ HTTP/1.1\r\nHost: ${authority}\r\n${scene.authorization}\r\n`;
  agent.send(
    get('open.test') + get('plain.test') + get('open.test:8080') + get('secure.test') + get('open.test'),
  );
  for (const [authority, host] of [
    ['open.test:80', 'open.test'],
    ['plain.test:80', 'plain.test'],
    ['open.test:8080', 'open.test:8080'],
  ] as const) {
    const server = await scene.upstream(authority);
    const head = await server.readTo('\r\n\r\n');
    t.match(head, `Host: ${host}\r\n`);
    t.equal(head.includes(SECRET), authority === 'plain.test:80', authority);
    server.send(`HTTP/1.1 200 OK\r\nContent-Length: ${host.length}\r\n\r\n${host}`);
    t.equal(await answer(agent), `200 ${host}`);
    if (authority !== 'open.test:80') continue;
    void server.readTo('\r\n\r\n').then(() => server.send(OK));
  }
  t.equal(await answer(agent), '403 policy_denied');
  t.equal(await answer(agent), '200 ok', 'on the connection that was opened for the first');
});

t.test('each request says whose it is, and all of a connection are one agent’s', async (t) => {
  const scene = await start(t);
  const get = (authorization: string): string =>
    `GET http://open.test/ HTTP/1.1\r\nHost: open.test\r\n${authorization}\r\n`;
  await scene.worker.change(({ agents }) => ({
    agents: agents.flatMap((agent) => [agent, { ...agent, id: 'agent-2', name: 'other' }]),
  }));
  const others = `Proxy-Authorization: Basic ${Buffer.from(`other:${scene.worker.token}`).toString('base64')}\r\n`;
  for (const authorization of ['', others]) {
    const agent = await scene.agent();
    agent.send(get(scene.authorization));
    const server = await scene.upstream('open.test:80');
    await server.readTo('\r\n\r\n');
    server.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    t.equal(await answer(agent), '200 ');
    agent.send(get(authorization));
    t.equal(await agent.refused(), '407 proxy_auth_required end');
  }
  const challenged = await scene.agent();
  challenged.send(get(''));
  t.equal(await answer(challenged), '407 proxy_auth_required');
  challenged.send(get(scene.authorization));
  t.match(
    await (await scene.upstream('open.test:80')).readTo('\r\n\r\n'),
    /^GET \/ HTTP/,
    'asked again, it may',
  );
});

t.test('what is not for this way is refused with what to do', async (t) => {
  const scene = await start(t);
  const rows: readonly [string, string][] = [
    ['GET / HTTP/1.1\r\nHost: open.test\r\n\r\n', '400 bad_request end'],
    ['OPTIONS * HTTP/1.1\r\nHost: open.test\r\n\r\n', '400 bad_request end'],
    ['GET https://secure.test/ HTTP/1.1\r\nHost: secure.test\r\n\r\n', '403 policy_denied end'],
    ['GET http://open.test/ HTTP/1.1\r\nHost: plain.test\r\n\r\n', '421 misdirected_request end'],
    ['GET http://open.test/ HTTP/1.1\r\nHost: open.test:8080\r\n\r\n', '421 misdirected_request end'],
    ['GET http://bot@open.test/ HTTP/1.1\r\nHost: open.test\r\n\r\n', '400 bad_request end'],
    ['GET ftp://open.test/ HTTP/1.1\r\nHost: open.test\r\n\r\n', '400 bad_request end'],
  ];
  for (const [request, refusal] of rows) {
    t.equal(await (await ask(scene, request)).refused(), refusal, request);
  }
  const head = await ask(scene, 'HEAD https://secure.test/ HTTP/1.1\r\nHost: secure.test\r\n\r\n');
  t.match((await head.finish()).rest, /^HTTP\/1\.1 403 Forbidden\r\n(?:.+\r\n)+\r\n$/, 'no body for HEAD');
  t.equal(scene.waiting('open.test:80') + scene.waiting('plain.test:80'), 0);

  const agent = await ask(scene, 'GET http://open.test/ HTTP/1.1\r\nHost: open.test\r\n\r\n');
  const server = await scene.upstream('open.test:80');
  await server.readTo('\r\n\r\n');
  server.send(OK);
  await agent.readTo('ok');
  agent.send(`CONNECT secure.test:443 HTTP/1.1\r\nHost: secure.test:443\r\n${scene.authorization}\r\n`);
  t.equal(await agent.refused(), '501 method_not_supported end');
});

t.test('HTTP/1.0 has no Host; the server, of 1.1, gets one', async (t) => {
  const scene = await start(t);
  const agent = await ask(scene, 'GET http://open.test:8080 HTTP/1.0\r\n\r\n');
  const server = await scene.upstream('open.test:8080');
  t.equal(await server.readTo('\r\n\r\n'), 'GET / HTTP/1.1\r\nHost: open.test:8080\r\n\r\n');
  server.send(OK);
  t.match(await agent.finish(), { rest: /Connection: close\r\n\r\nok$/, ending: 'end' });
});

t.test('the right to a host, and to a credential, ends with the next policy', async (t) => {
  const scene = await start(t);
  const agent = await ask(scene, 'GET http://open.test/ HTTP/1.1\r\nHost: open.test\r\n\r\n');
  const server = await scene.upstream('open.test:80');
  await server.readTo('\r\n\r\n');
  server.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nso');
  await agent.readTo('so');
  await scene.worker.change(({ agents }) => ({
    agents: agents.map((each) => ({ ...each, unlisted: 'deny' as const })),
  }));
  t.not((await agent.finish()).ending, 'open', 'a stream in hand is cut');
  t.not((await server.finish()).ending, 'open');

  const granted = await ask(scene, 'GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n\r\n');
  const plain = await scene.upstream('plain.test:80');
  await plain.readTo('\r\n\r\n');
  plain.send(OK);
  t.equal(await answer(granted), '200 ok');
  await scene.worker.change(({ rules }) => ({
    rules: rules.map((rule) => ({ ...rule, plainHttp: false })),
  }));
  granted.send(`GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n${scene.authorization}\r\n`);
  t.equal(await answer(granted), '403 policy_denied');
});

t.test('bodies and half-close', async (t) => {
  const scene = await start(t);
  const agent = await ask(
    scene,
    'PUT http://open.test/ HTTP/1.1\r\nHost: open.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
  );
  const server = await scene.upstream('open.test:80');
  t.match(await server.readTo('abc\r\n'), /\r\n\r\n3\r\nabc\r\n$/);
  agent.send('0\r\n\r\n');
  agent.socket.end();
  t.equal(await server.readTo('0\r\n\r\n'), '0\r\n\r\n');
  await delay(50);
  server.send(OK);
  t.match(await agent.finish(), { rest: /\r\nContent-Length: 2\r\n\r\nok$/, ending: 'end' });
});

t.test('a tunnel to a port where plain http is allowed carries either: the first byte tells', async (t) => {
  const scene = await start(t);
  const agent = await connect(scene, 'plain.test:80');
  t.equal(await agent.readTo('\r\n\r\n'), ESTABLISHED);
  agent.send('GET /ws HTTP/1.1\r\nHost: plain.test\r\n\r\n');
  const server = await scene.upstream('plain.test:80');
  t.match(await server.readTo('\r\n\r\n'), `Authorization: Bearer ${SECRET}\r\n`);
  const secure = await connect(scene, 'plain.test:80');
  await secure.readTo('\r\n\r\n');
  const inside = tls.connect({ socket: secure.socket, servername: 'plain.test', ca: scene.worker.ca.cert });
  inside.on('error', () => {});
  await once(inside, 'secureConnect');
  t.ok(inside.authorized);
});

t.test('what is refused after the first byte is told in the protocol that it began', async (t) => {
  const scene = await start(t);
  const first = await connect(scene, 'plain.test:80');
  await first.readTo('\r\n\r\n');
  const second = await connect(scene, 'plain.test:80');
  await second.readTo('\r\n\r\n');
  await scene.worker.change(() => ({ rules: [] }));
  await scene.worker.change(({ agents }) => ({
    agents: agents.map((agent) => ({ ...agent, unlisted: 'deny' as const })),
  }));
  first.send('GET / HTTP/1.1\r\nHost: plain.test\r\n\r\n');
  t.equal(await first.refused(), '403 host_not_granted end');
  const inside = tls.connect({ socket: second.socket, servername: 'plain.test' });
  const [error]: Error[] = await once(inside, 'error');
  t.match(error?.message, /alert access denied/);
});
