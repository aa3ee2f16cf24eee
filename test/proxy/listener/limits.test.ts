import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { WorkerOptions } from '../../support/worker.ts';
import type { End } from './end.ts';
import { connect, ESTABLISHED, startScene, tunnel } from './scene.ts';

t.setTimeout(60_000);
const HOSTS = ['a.test', 'b.test', 'c.test', 'd.test'];

function start(t: Test, limits: NonNullable<WorkerOptions['limits']>, rules?: WorkerOptions['rules']) {
  return startScene(t, { secure: HOSTS.map((host) => `${host}:443`), limits, ...(rules && { rules }) });
}

async function isOpened(agent: End): Promise<boolean> {
  return (await agent.readTo('\r\n\r\n')) === ESTABLISHED;
}

t.test('heads that are too large get 431 or 414 and a close, in CONNECT and in a tunnel', async (t) => {
  const scene = await start(t, { headBytes: 1024, headFields: 16, targetBytes: 256 });
  const heads: readonly [string, string][] = [
    [`X-Long: ${'x'.repeat(1024)}\r\n`, '431 head_too_large'],
    ['A: b\r\n'.repeat(17), '431 head_too_large'],
  ];
  for (const [fields, answer] of heads) {
    const approach = await scene.agent();
    approach.send(`CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n${fields}\r\n`);
    t.equal(await approach.refused(), `${answer} end`, 'in CONNECT');
    const inside = await tunnel(scene, 'a.test');
    inside.send(`GET / HTTP/1.1\r\nHost: a.test\r\n${fields}\r\n`);
    t.equal(await inside.refused(), `${answer} end`, 'in a tunnel');
  }
  const long = 'x'.repeat(256);
  const approach = await scene.agent();
  approach.send(`CONNECT ${long}:443 HTTP/1.1\r\nHost: a.test\r\n\r\n`);
  t.equal(await approach.refused(), '414 uri_too_long end');
  const inside = await tunnel(scene, 'a.test');
  inside.send(`GET /${long} HTTP/1.1\r\nHost: a.test\r\n\r\n`);
  t.equal(await inside.refused(), '414 uri_too_long end');
  t.match((await scene.worker.metrics()).problems, { head_too_large: 4, uri_too_long: 2 });
});

t.test('a head that trickles in gets 408, however many bytes have come', async (t) => {
  const scene = await start(t, { headTimeoutMs: 700 });
  const approach = await scene.agent();
  const inside = await tunnel(scene, 'a.test');
  inside.send('GET / HTTP/1.1\r\nHost: a.test\r\nX: ');
  approach.send('CONNECT a.test:443 HTTP/1.1\r\nX: ');
  const begun = performance.now();
  const trickle = setInterval(() => {
    approach.send('x');
    inside.send('x');
  }, 50);
  t.teardown(() => clearInterval(trickle));
  t.equal(await approach.refused(), '408 request_timeout end');
  t.ok(performance.now() - begun > 600);
  t.equal(await inside.refused(), '408 request_timeout end');
  t.ok(performance.now() - begun < 2_000, 'each had its time once');
  t.match((await scene.worker.metrics()).limits, { slow_approach: 1, slow_head: 1 });
});

t.test('a handshake that does not come, and a tunnel that is idle, are closed', async (t) => {
  const scene = await start(t, { handshakeTimeoutMs: 300, idleTimeoutMs: 600 });
  const silent = await connect(scene, 'a.test:443');
  t.ok(await isOpened(silent));
  t.same(await silent.finish(), { ending: 'end', rest: '' });
  const idle = await tunnel(scene, 'a.test');
  t.same(await idle.finish(), { ending: 'end', rest: '' });
  t.match((await scene.worker.metrics()).limits, { slow_handshake: 1, idle: 1 });
});

t.test('a body beyond the limit gets 413, and the server none of it', async (t) => {
  const scene = await start(t, { bodyBytes: 10 }, [
    { host: 'a.test' },
    { host: 'b.test', limits: { bodyBytes: 20 } },
  ]);
  const post = (host: string, length: number, more = ''): string =>
    `POST / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${length}\r\n${more}\r\n`;

  const allowed = await tunnel(scene, 'a.test');
  allowed.send(`${post('a.test', 10)}0123456789`);
  const server = await scene.upstream('a.test:443');
  t.match(await server.readTo('0123456789'), /Content-Length: 10\r\n/);
  allowed.socket.destroy();
  await server.finish();

  const tooLong = await tunnel(scene, 'a.test');
  tooLong.send(post('a.test', 11, 'Expect: 100-continue\r\n'));
  t.equal(await tooLong.refused(), '413 content_too_large end', 'before it is sent');

  const own = await tunnel(scene, 'b.test');
  own.send(`${post('b.test', 20)}${'x'.repeat(20)}`);
  const other = await scene.upstream('b.test:443');
  t.match(await other.readTo('x'.repeat(20)), /Content-Length: 20\r\n/, 'the service says otherwise');
  other.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  t.match(await own.readTo('\r\n\r\n'), /^HTTP\/1\.1 200 /);
  own.send(post('b.test', 21));
  t.equal(await own.refused(), '413 content_too_large end');
  t.match((await scene.worker.metrics()).limits, { body_size: 2 });
});

t.test('a chunked body that grows beyond the limit is never whole for the server', async (t) => {
  const scene = await start(t, { bodyBytes: 10 });
  const agent = await tunnel(scene, 'a.test');
  agent.send('POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n');
  const server = await scene.upstream('a.test:443');
  t.match(await server.readTo('01234\r\n'), /\r\n\r\n5\r\n01234\r\n$/);
  agent.send('6\r\n567890\r\n0\r\n\r\n');
  t.equal(await agent.refused(), '413 content_too_large end');
  const { ending, rest } = await server.finish();
  t.not(ending, 'open');
  t.equal(rest, '', 'and gets nothing of the chunk that was too much');
});

t.test('a body that stops coming gets 408, and is never whole for the server', async (t) => {
  const scene = await start(t, { bodyTimeoutMs: 400 });
  const agent = await tunnel(scene, 'a.test');
  agent.send('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\n012');
  const server = await scene.upstream('a.test:443');
  t.match(await server.readTo('\r\n\r\n012'), /\r\n\r\n012$/);
  t.equal(await agent.refused(), '408 request_timeout end');
  t.same((await server.finish()).rest, '');

  const talking = await tunnel(scene, 'a.test');
  talking.send('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\n012');
  const answering = await scene.upstream('a.test:443');
  await answering.readTo('\r\n\r\n012');
  answering.send('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab');
  t.match(await talking.readTo('ab'), /\r\n\r\nab$/);
  await delay(1_200);
  answering.send('cd');
  t.equal(await talking.read(2), 'cd', 'once the answer has begun, only the two of them decide');
  t.match((await scene.worker.metrics()).limits, { slow_body: 1 });
});

t.test('an agent has so many tunnels and no more', async (t) => {
  const scene = await start(t, { tunnelsPerAgent: 2 });
  const first = await tunnel(scene, 'a.test');
  await tunnel(scene, 'b.test');
  const third = await connect(scene, 'a.test:443');
  t.equal(await third.refused(), '429 rate_limited end');
  first.socket.destroy();
  await delay(50);
  t.ok(await isOpened(await connect(scene, 'a.test:443')), 'one that is closed makes room');
  t.match((await scene.worker.metrics()).limits, { tunnels_per_agent: 1 });
});

t.test('new tunnels beyond the rate wait a while, beyond that they are refused', async (t) => {
  const scene = await start(t, { tunnelBurst: 2, tunnelsPerSecond: 5 });
  const wires = await Promise.all(Array.from({ length: 10 }, () => connect(scene, 'a.test:443')));
  const begun = performance.now();
  const answers = await Promise.all(
    wires.map(async (wire) => {
      const status = (await wire.readTo('\r\n\r\n')).slice(9, 12);
      return { status, after: performance.now() - begun };
    }),
  );
  const opened = answers.filter(({ status }) => status === '200').map(({ after }) => after);
  const refused = answers.filter(({ status }) => status === '429').map(({ after }) => after);
  t.same([opened.length, refused.length], [7, 3], 'two at once, five within the second that they may wait');
  t.ok(Math.max(...opened) > 850, `the last one waited, ${Math.max(...opened)} ms`);
  t.ok(Math.max(...refused) < Math.max(...opened), 'what would wait too long does not wait at all');
  t.match((await scene.worker.metrics()).limits, { tunnel_rate: 3 });
});

t.test('an agent has so many certificates made and no more; those that it has go on serving', async (t) => {
  const scene = await start(t, { leavesPerMinute: 3 });
  for (const host of ['a.test', 'b.test', 'c.test'])
    t.ok(await isOpened(await connect(scene, `${host}:443`)));
  t.equal(await (await connect(scene, 'd.test:443')).refused(), '429 rate_limited end');
  t.ok(await isOpened(await connect(scene, 'a.test:443')));
  t.match((await scene.worker.metrics()).limits, { leaf_rate: 1 });
});

t.test('connections that say nothing do not grow without bound', async (t) => {
  const scene = await start(t, { strangers: 2 });
  const inside = await tunnel(scene, 'a.test');
  const [first] = [await scene.agent(), await scene.agent()];
  await delay(50);
  t.equal(await (await scene.agent()).refused(), '429 rate_limited end');
  first.socket.destroy();
  await delay(50);
  t.ok(await isOpened(await connect(scene, 'a.test:443')), 'one that leaves makes room');
  t.equal(inside.socket.destroyed, false, 'who is known is not counted');
  t.match((await scene.worker.metrics()).limits, { strangers: 1 });
});
