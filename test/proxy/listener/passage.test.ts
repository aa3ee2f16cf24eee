import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import { makeCa, makeServerCert } from '../../support/certificates.ts';
import { freePort } from '../../support/worker.ts';
import type { End } from './end.ts';
import { connect, ESTABLISHED, type Scene, type SceneOptions, startScene, tunnel } from './scene.ts';

/** "listed.test:443" has a rule, "open.test" and "open.test:8080" have none. */
async function start(t: Test, options: SceneOptions = {}, unlisted: 'deny' | 'tunnel' = 'tunnel') {
  const scene = await startScene(t, {
    secure: ['listed.test:443'],
    plain: ['open.test:443', 'open.test:8080', 'listed.test:8443'],
    ...options,
  });
  await change(scene, unlisted);
  return scene;
}

function change(scene: Scene, unlisted: 'deny' | 'tunnel'): Promise<void> {
  return scene.worker.change(({ agents }) => ({ agents: agents.map((agent) => ({ ...agent, unlisted })) }));
}

/** A passage to open.test, both ends. */
async function passage(scene: Scene, authority = 'open.test:443'): Promise<{ agent: End; server: End }> {
  const agent = await connect(scene, authority);
  const answer = await agent.readTo('\r\n\r\n');
  if (answer !== ESTABLISHED) throw new Error(answer);
  return { agent, server: await scene.upstream(authority) };
}

t.test('bytes go both ways as they come, and each side may end before the other', async (t) => {
  const scene = await start(t);
  const { agent, server } = await passage(scene, 'open.test:8080');
  const every = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)).join('');
  agent.send(every);
  t.equal(await server.read(256), every);
  server.send(every);
  t.equal(await agent.read(256), every);
  agent.socket.end();
  t.same(await server.finish(), { rest: '', ending: 'end' });
  server.send('the last word');
  t.equal(await agent.read(13), 'the last word', 'after a half-close');
  server.socket.end();
  t.same(await agent.finish(), { rest: '', ending: 'end' });
  await delay(20);
  const records = scene.worker.journal.split('\n').filter((line) => line.includes('"id"'));
  t.equal(records.length, 2);
  t.match(JSON.parse(records[0] ?? ''), {
    type: 'request',
    agent: 'bot',
    method: 'CONNECT',
    host: 'open.test',
    port: 8080,
    service: null,
    credential: null,
    decision: 'passed',
    reason: 'unlisted',
  });
  t.match(JSON.parse(records[1] ?? ''), { type: 'outcome', error: null, bytesUp: 256, bytesDown: 269 });
});

t.test("TLS is the server's own, and what came with the CONNECT goes on", async (t) => {
  const scene = await start(t);
  const ca = makeCa();
  const agent = await scene.agent();
  const request = `CONNECT open.test:443 HTTP/1.1\r\nHost: open.test:443\r\n${scene.authorization}\r\n`;
  agent.send(`${request}early`);
  const server = await scene.upstream('open.test:443');
  t.equal(await server.read(5), 'early');
  t.equal(await agent.readTo('\r\n\r\n'), ESTABLISHED);
  const inside = tls.connect({ socket: agent.socket, servername: 'open.test', ca: ca.cert });
  const served = new tls.TLSSocket(server.socket, { isServer: true, ...makeServerCert(ca, 'open.test') });
  await once(inside, 'secureConnect');
  t.ok(inside.authorized);
  served.end('private');
  t.equal(String(await once(inside, 'data')), 'private');
});

t.test('without that right, and for hosts that a rule names, nothing is passed', async (t) => {
  const scene = await start(t, {}, 'deny');
  t.equal(await (await connect(scene, 'open.test:443')).refused(), '403 host_not_granted end');
  await change(scene, 'tunnel');
  t.equal(
    await (await connect(scene, 'listed.test:8443')).refused(),
    '403 host_not_granted end',
    'another port of a granted host',
  );
  const inside = await tunnel(scene, 'listed.test');
  inside.send('GET / HTTP/1.1\r\nHost: listed.test\r\n\r\n');
  const server = await scene.upstream('listed.test:443');
  t.match(await server.readTo('\r\n\r\n'), /Authorization: Bearer /, 'a granted host is terminated still');
  t.equal(scene.waiting('open.test:443') + scene.waiting('listed.test:8443'), 0);
});

t.test('the address guard stands before a passage too', async (t) => {
  const scene = await start(t);
  for (const authority of [
    `127.0.0.1:${scene.worker.port}`,
    `localhost:${scene.worker.port}`,
    '10.0.0.1:443',
    '169.254.169.254:80',
    '[::ffff:169.254.169.254]:80',
    '[::]:443',
    '0.0.0.0:443',
  ]) {
    t.equal(await (await connect(scene, authority)).refused(), '403 address_forbidden end', authority);
  }
});

t.test('a server that cannot be reached is the answer to CONNECT, on record once', async (t) => {
  const scene = await start(t);
  const port = await freePort();
  t.equal(await (await connect(scene, `127.0.0.1:${port}`)).refused(), '502 upstream_unreachable end');
  await delay(20);
  const lines = scene.worker.journal.split('\n').filter((line) => line.includes('"type"'));
  t.same(
    lines.map((line) => JSON.parse(line).type),
    ['request', 'outcome'],
  );
  t.match(JSON.parse(lines[1] ?? ''), { error: 'upstream_unreachable', bytesUp: 0 });
});

t.test('a passage ends with the right to it', async (t) => {
  const scene = await start(t);
  const denied = await passage(scene);
  await change(scene, 'deny');
  t.same(await denied.agent.finish(), { rest: '', ending: 'reset' });
  t.same(await denied.server.finish(), { rest: '', ending: 'reset' });

  await change(scene, 'tunnel');
  const granted = await passage(scene);
  const other = await passage(scene, 'open.test:8080');
  await scene.worker.change(({ rules }) => ({
    rules: rules.map((rule) => ({
      ...rule,
      hosts: [...rule.hosts, { pattern: 'open.test', port: 443, paths: [] }],
    })),
  }));
  t.same(await granted.agent.finish(), { rest: '', ending: 'reset' }, 'a rule names the host now');
  t.same(await other.agent.finish(), { rest: '', ending: 'reset' }, 'at whatever port');

  await scene.worker.change(({ rules }) => ({
    rules: rules.map((rule) => ({ ...rule, hosts: rule.hosts.slice(0, 1) })),
  }));
  const rotated = await passage(scene);
  await scene.worker.change(({ agents }) => ({
    agents: agents.map((agent) => ({ ...agent, tokens: ['0'.repeat(64)] })),
  }));
  t.same(await rotated.agent.finish(), { rest: '', ending: 'reset' });
});

t.test('an abort on one side is an abort on the other', async (t) => {
  const scene = await start(t);
  const first = await passage(scene);
  first.server.socket.resetAndDestroy();
  t.same(await first.agent.finish(), { rest: '', ending: 'reset' });
  const second = await passage(scene);
  second.agent.socket.resetAndDestroy();
  t.same(await second.server.finish(), { rest: '', ending: 'reset' });
});

t.test('a passage counts among the tunnels, and a silent one is closed', async (t) => {
  const scene = await start(t, { limits: { tunnelsPerAgent: 1, passedIdleTimeoutMs: 900 } });
  const { agent, server } = await passage(scene);
  t.equal(await (await connect(scene, 'open.test:8080')).refused(), '429 rate_limited end');
  const talk = setInterval(() => server.send('.'), 200);
  await delay(1_500);
  clearInterval(talk);
  t.equal(agent.socket.destroyed, false, 'one that talks is not');
  const { ending } = await agent.finish();
  t.equal(ending, 'reset');
  await passage(scene);
});

t.test('the slower side sets the pace: nothing is gathered in memory', async (t) => {
  const scene = await start(t);
  const agent = await connect(scene, 'open.test:443');
  await agent.readTo('\r\n\r\n');
  const server = await scene.upstream('open.test:443');
  agent.socket.pause();
  const block = Buffer.alloc(1 << 20);
  let sent = 0;
  while (server.socket.write(block) && sent < 100) sent++;
  for (; sent < 100; sent++) {
    const drained = await Promise.race([once(server.socket, 'drain'), delay(500)]);
    if (!drained) break;
    server.socket.write(block);
  }
  t.ok(sent < 60, `${sent} MiB went before the agent read any`);
});
