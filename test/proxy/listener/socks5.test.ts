import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import { freePort } from '../../support/worker.ts';
import { End } from './end.ts';
import { hello } from './hello.ts';
import { type Scene, type SceneOptions, SECRET, startScene } from './scene.ts';

const GREETING = '\x05\x01\x02';
const CHOSEN = '\x05\x02';
const WELCOME = '\x01\x00';
const CONNECTED = '\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00';
const failed = (reply: number): string => `\x05${String.fromCharCode(reply)}\x00\x01\x00\x00\x00\x00\x00\x00`;

const byte = (value: number): string => String.fromCharCode(value);
const port = (value: number): string => byte(value >> 8) + byte(value & 255);
const login = (name: string, password: string): string =>
  `\x01${byte(name.length)}${name}${byte(password.length)}${password}`;
const toName = (name: string, at: number): string => `\x05\x01\x00\x03${byte(name.length)}${name}${port(at)}`;
const toIPv4 = (address: string, at: number): string =>
  `\x05\x01\x00\x01${address.split('.').map(Number).map(byte).join('')}${port(at)}`;

async function start(t: Test, unlisted: 'deny' | 'tunnel' = 'deny', more: SceneOptions = {}): Promise<Scene> {
  const scene = await startScene(t, {
    secure: ['listed.test:443'],
    plain: [
      'listed.test:80',
      'open.test:443',
      'open.test:80',
      'plain.test:80',
      'plain.test:8080',
      '192.0.2.7:443',
      '192.0.2.7:80',
    ],
    rules: [
      { host: 'listed.test' },
      { host: 'plain.test', port: 80, plainHttp: true, id: 'p' },
      { host: 'plain.test', port: 8080, plainHttp: true, id: 'q' },
    ],
    ...more,
  });
  await scene.worker.change(({ agents }) => ({ agents: agents.map((agent) => ({ ...agent, unlisted })) }));
  return scene;
}

/** Greets and logs in as "bot". */
async function enter(scene: Scene): Promise<End> {
  const agent = await scene.agent();
  agent.send(GREETING);
  if ((await agent.read(2)) !== CHOSEN) throw new Error('not greeted');
  agent.send(login('bot', scene.worker.token));
  if ((await agent.read(2)) !== WELCOME) throw new Error('not let in');
  return agent;
}

async function ask(scene: Scene, request: string): Promise<{ agent: End; answer: string }> {
  const agent = await enter(scene);
  agent.send(request);
  return { agent, answer: await agent.read(10) };
}

/** TLS with `servername` over a connection that has been opened. */
async function secure(scene: Scene, agent: End, servername: string): Promise<tls.TLSSocket> {
  const inside = tls.connect({ socket: agent.socket, servername, ca: scene.worker.ca.cert });
  inside.on('error', () => {});
  await once(inside, 'secureConnect');
  return inside;
}

t.test('a host that a rule names is reached as by CONNECT', async (t) => {
  const scene = await start(t);
  const { agent, answer } = await ask(scene, toName('LISTED.test.', 443));
  t.equal(answer, CONNECTED);
  const inside = new End(await secure(scene, agent, 'listed.test'));
  inside.send('GET / HTTP/1.1\r\nHost: listed.test\r\n\r\n');
  const server = await scene.upstream('listed.test:443');
  t.match(await server.readTo('\r\n\r\n'), `Authorization: Bearer ${SECRET}\r\n`);
});

t.test('messages may be cut anywhere, and may come all at once', async (t) => {
  const scene = await start(t);
  const all = GREETING + login('bot', scene.worker.token) + toName('listed.test', 443);
  const slow = await scene.agent();
  for (const character of all) {
    slow.send(character);
    await new Promise(setImmediate);
  }
  t.equal(await slow.read(14), CHOSEN + WELCOME + CONNECTED);
  const hasty = await scene.agent();
  const first = (await hello({ servername: 'listed.test' })).toString('latin1');
  hasty.send(all + first);
  t.equal(await hasty.read(14), CHOSEN + WELCOME + CONNECTED);
  t.equal((await hasty.read(1)).charCodeAt(0), 22, 'and the handshake that came with them is answered');
});

t.test('who does not log in gets no further', async (t) => {
  const scene = await start(t);
  const none = await scene.agent();
  none.send('\x05\x02\x00\x01');
  t.same(await none.finish(), { rest: '\x05\xff', ending: 'end' });
  for (const [name, password] of [
    ['bot', 'wrong'],
    ['nobody', scene.worker.token],
    ['', ''],
  ] as const) {
    const agent = await scene.agent();
    agent.send(GREETING + login(name, password) + toName('listed.test', 443));
    t.same(await agent.finish(), { rest: `${CHOSEN}\x01\x01`, ending: 'end' }, name);
  }
  const other = await scene.agent();
  other.send('\x04\x01\x01\xbb\x01\x02\x03\x04\x00');
  t.match((await other.finish()).rest, /^HTTP\/1\.1 400 /, 'SOCKS4 is no SOCKS5');
  t.match((await scene.worker.metrics()).problems, { proxy_auth_required: 4, bad_request: 1 });
});

t.test('each refusal has its reply', async (t) => {
  const scene = await start(t);
  const closed = await freePort();
  const rows: readonly [string, number][] = [
    [toName('open.test', 443), 2],
    [toName('listed.test', 8443), 2],
    [toName('a/test', 443), 8],
    ['\x05\x02\x00\x01\x7f\x00\x00\x01\x01\xbb', 7],
    ['\x05\x03\x00\x01\x7f\x00\x00\x01\x01\xbb', 7],
    ['\x05\x01\x00\x05\x7f\x00\x00\x01\x01\xbb', 8],
    [toIPv4('127.0.0.1', 22), 2],
  ];
  for (const [request, reply] of rows) {
    const { agent, answer } = await ask(scene, request);
    t.equal(answer, failed(reply), JSON.stringify(request));
    t.same(await agent.finish(), { rest: '', ending: 'end' });
  }
  await scene.worker.change(({ agents }) => ({
    agents: agents.map((agent) => ({ ...agent, unlisted: 'tunnel' as const })),
  }));
  t.equal((await ask(scene, toIPv4('127.0.0.1', closed))).answer, failed(5), 'connection refused');
  t.equal((await ask(scene, toIPv4('10.0.0.1', 22))).answer, failed(2), 'a private address');
  t.equal((await ask(scene, toIPv4('127.0.0.1', scene.worker.port))).answer, failed(2), 'our own listener');
  t.equal((await ask(scene, toName('no.such.test.invalid', 22))).answer, failed(4), 'no such name');
});

t.test('what no rule names is passed on for agents that may reach it', async (t) => {
  const scene = await start(t, 'tunnel');
  const { agent, answer } = await ask(scene, toName('open.test', 443));
  t.equal(answer, CONNECTED);
  const server = await scene.upstream('open.test:443');
  server.send('whatever');
  t.equal(await agent.read(8), 'whatever', 'the server may speak first');
  t.equal((await ask(scene, toName('listed.test', 8443))).answer, failed(2), 'a granted host has its port');
});

t.test('an address asked for with the name of a granted host: the name is dialled by us', async (t) => {
  for (const unlisted of ['deny', 'tunnel'] as const) {
    const scene = await start(t, unlisted);
    const { agent, answer } = await ask(scene, toIPv4('192.0.2.7', 443));
    t.equal(answer, CONNECTED);
    const inside = new End(await secure(scene, agent, 'listed.test'));
    inside.send('GET / HTTP/1.1\r\nHost: listed.test\r\n\r\n');
    const server = await scene.upstream('listed.test:443');
    t.match(await server.readTo('\r\n\r\n'), `Authorization: Bearer ${SECRET}\r\n`);
    t.equal(scene.waiting('192.0.2.7:443'), 0, 'and never the address');
    const asked = scene.worker.asked.filter(({ type }) => type !== 'head');
    t.match(asked, [{ type: 'leaf', host: 'listed.test' }, { type: 'secret' }]);
  }
});

t.test('an address asked for with any other name, or none', async (t) => {
  const scene = await start(t, 'deny');
  for (const servername of ['open.test', '']) {
    const { agent, answer } = await ask(scene, toIPv4('192.0.2.7', 443));
    t.equal(answer, CONNECTED);
    const inside = tls.connect({ socket: agent.socket, servername });
    const [error]: Error[] = await once(inside, 'error');
    t.match(error?.message, /alert access denied/, 'the client can say why');
  }
  await delay(20);
  t.match(
    scene.worker.journal
      .split('\n')
      .filter((line) => line.includes('"denied"'))
      .map((line) => JSON.parse(line)),
    [
      { agent: 'bot', host: '192.0.2.7', port: 443, reason: 'host_not_granted' },
      { agent: 'bot', host: '192.0.2.7', port: 443, reason: 'host_not_granted' },
    ],
  );
  await scene.worker.change(({ agents }) => ({
    agents: agents.map((each) => ({ ...each, unlisted: 'tunnel' as const })),
  }));
  const { agent } = await ask(scene, toIPv4('192.0.2.7', 443));
  const first = (await hello({ servername: 'open.test' })).toString('latin1');
  agent.send(first);
  const server = await scene.upstream('192.0.2.7:443');
  t.equal(await server.read(first.length), first, 'is passed on to that address');
});

t.test('a connection that is opened and then silent is closed', async (t) => {
  const scene = await start(t, 'deny', { limits: { handshakeTimeoutMs: 300 } });
  const { agent, answer } = await ask(scene, toIPv4('192.0.2.7', 443));
  t.equal(answer, CONNECTED);
  t.same(await agent.finish(), { rest: '', ending: 'end' });
});

t.test('port 80 is plain HTTP, decided by request', async (t) => {
  const scene = await start(t);
  const granted = await ask(scene, toName('plain.test', 80));
  t.equal(granted.answer, CONNECTED);
  granted.agent.send('GET /a HTTP/1.1\r\nHost: plain.test\r\n\r\n');
  const plain = await scene.upstream('plain.test:80');
  t.equal(
    await plain.readTo('\r\n\r\n'),
    `GET /a HTTP/1.1\r\nHost: plain.test\r\nAccept-Encoding: identity\r\nAuthorization: Bearer ${SECRET}\r\n\r\n`,
  );
  const other = await ask(scene, toName('plain.test', 80));
  other.agent.send('GET /a HTTP/1.1\r\nHost: open.test\r\n\r\n');
  t.match(await other.agent.readTo('\r\n\r\n'), /^HTTP\/1\.1 421 /, 'the Host must be that of the way');

  const elsewhere = await ask(scene, toName('plain.test', 8080));
  t.equal(elsewhere.answer, CONNECTED, 'as at other ports whose service allows it');
  elsewhere.agent.send('GET /b HTTP/1.1\r\nHost: plain.test:8080\r\n\r\n');
  t.match(
    await (await scene.upstream('plain.test:8080')).readTo('\r\n\r\n'),
    `Authorization: Bearer ${SECRET}\r\n`,
  );

  const denied = await ask(scene, toName('listed.test', 80));
  denied.agent.send('GET / HTTP/1.1\r\nHost: listed.test\r\n\r\n');
  t.match(
    await denied.agent.readTo('\r\n\r\n'),
    /^HTTP\/1\.1 403 (?:.+\r\n)+X-Sallyport-Error: policy_denied\r\n/,
    'no credential without TLS',
  );
  t.equal(scene.waiting('listed.test:80'), 0);
});

t.test('port 80 of an address: the Host counts', async (t) => {
  const scene = await start(t, 'tunnel');
  const { agent } = await ask(scene, toIPv4('192.0.2.7', 80));
  agent.send('GET /a HTTP/1.1\r\nHost: plain.test\r\n\r\n');
  const plain = await scene.upstream('plain.test:80');
  t.match(await plain.readTo('\r\n\r\n'), `Authorization: Bearer ${SECRET}\r\n`);
  plain.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  await agent.readTo('\r\n\r\n');
  agent.send('GET /b HTTP/1.1\r\nHost: 192.0.2.7\r\n\r\n');
  const address = await scene.upstream('192.0.2.7:80');
  t.equal(await address.readTo('\r\n\r\n'), 'GET /b HTTP/1.1\r\nHost: 192.0.2.7\r\n\r\n');
  address.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  await agent.readTo('\r\n\r\n');
  agent.send('GET /c HTTP/1.1\r\nHost: plain.test:8080\r\n\r\n');
  t.match(await agent.readTo('\r\n\r\n'), /^HTTP\/1\.1 421 /, 'but not at another port');
});
