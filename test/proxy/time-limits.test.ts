import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { answerOf, connectHttp2 } from '../support/h2-agent.ts';
import type { End } from './listener/end.ts';
import { startScene, tunnel } from './listener/scene.ts';

/** Deadlines are looked at twice a second. */
const TICK_MS = 500;
const GET = (host: string): string => `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
const EVENTS = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';
const EVENT = '5\r\nping\n\r\n';
const HANDSHAKE =
  'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';
const AGREED =
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n';
const HOSTS = ['head.test', 'idle.test', 'total.test', 'socket.test', 'free.test', 'body.test'];

const scene = await startScene(t, {
  secure: HOSTS.map((host) => `${host}:443`),
  plain: ['connect.test:443'], // it accepts and never says a word of TLS
  rules: [
    { host: 'connect.test', limits: { connectTimeoutMs: 300 } },
    { host: 'head.test', limits: { responseTimeoutMs: 300 } },
    { host: 'idle.test', limits: { idleTimeoutMs: 1_200 } },
    { host: 'socket.test', limits: { idleTimeoutMs: 1_200 } },
    { host: 'total.test', limits: { totalTimeoutMs: 1_500 } },
    { host: 'body.test', limits: { totalTimeoutMs: 600 } },
    { host: 'free.test' },
  ],
});
const { worker } = scene;
const limit = async (name: string): Promise<number> => (await worker.metrics()).limits[name] ?? 0;

/** A request over HTTP/2 that the server never answers: status and code of what comes instead. */
async function unanswered(host: string): Promise<string> {
  const session = await connectHttp2(worker, host);
  const { fields, body } = await answerOf(session.request({ ':path': '/' }));
  session.destroy();
  return `${fields[1]} ${JSON.parse(body).code}`;
}

t.test('connect: 504 where there is no connection in time', async (t) => {
  const before = await limit('slow_connect');
  const agent = await tunnel(scene, 'connect.test');
  const begun = performance.now();
  agent.send(GET('connect.test'));
  t.match(await agent.readTo('}'), /^HTTP\/1\.1 504 .*X-Sallyport-Error: upstream_timeout\r\n/s);
  t.ok(performance.now() - begun < 2_000, 'by the limit of the service, not by the one of the settings');
  t.equal(await unanswered('connect.test'), '504 upstream_timeout');
  t.equal((await limit('slow_connect')) - before, 2);
});

t.test('head: 504 where no answer begins in time, and the server is let go', async (t) => {
  const agent = await tunnel(scene, 'head.test');
  agent.send(GET('head.test'));
  const upstream = await scene.upstream('head.test:443');
  t.match(await agent.readTo('}'), /^HTTP\/1\.1 504 .*X-Sallyport-Error: upstream_timeout\r\n/s);
  t.not((await upstream.finish()).ending, 'open');
  t.equal(await unanswered('head.test'), '504 upstream_timeout');
  t.equal(await limit('slow_answer'), 2);
});

t.test('idle: a stream that says nothing is cut, one that speaks goes on', async (t) => {
  const agents = await Promise.all([tunnel(scene, 'idle.test'), tunnel(scene, 'idle.test')]);
  const session = await connectHttp2(worker, 'idle.test');
  const overHttp2 = answerOf(session.request({ ':path': '/' }));
  for (const agent of agents) agent.send(GET('idle.test'));
  const upstreams: End[] = [];
  for (let i = 0; i < 3; i++) {
    const upstream = await scene.upstream('idle.test:443');
    upstream.send(EVENTS + EVENT);
    upstreams.push(upstream);
  }
  const [silent, speaking] = agents;
  if (!silent || !speaking) throw new Error('no agents');
  for (const agent of agents) t.equal(await agent.readTo(EVENT), EVENTS + EVENT);
  // Whichever of the servers' ends is the speaking agent's: it alone gets what this one says.
  const timer = setInterval(() => upstreams[0]?.send(EVENT), 200);
  await delay(1_200 + 2 * TICK_MS);
  clearInterval(timer);
  const open = agents.filter(({ socket }) => !socket.destroyed && socket.readable).length;
  const { code } = await Promise.race([overHttp2, delay(0, { code: -1 })]);
  t.equal(open + (code === -1 ? 1 : 0), 1, 'the one that was spoken to is open still');
  if (code !== -1) t.not(code, 0, 'over HTTP/2 it is reset, and does not look whole');
  t.equal(await limit('answer_idle'), 2);
  for (const agent of agents) {
    if (!agent.socket.destroyed && agent.socket.readable) agent.socket.destroy();
    else t.notMatch((await agent.finish()).rest, /0\r\n\r\n$/, 'a cut stream does not look whole');
  }
  session.destroy();
  scene.forget();
});

t.test('idle: bytes of either side keep a WebSocket', async (t) => {
  const before = await limit('answer_idle');
  const agent = await tunnel(scene, 'socket.test');
  agent.send(`GET / HTTP/1.1\r\nHost: socket.test\r\n${HANDSHAKE}`);
  const upstream = await scene.upstream('socket.test:443');
  await upstream.readTo('\r\n\r\n');
  upstream.send(AGREED);
  await agent.readTo('\r\n\r\n');
  for (let i = 0; i < 10; i++) {
    agent.send('\x89\x80\0\0\0\0');
    await delay(200);
  }
  t.equal((await upstream.read(60)).length, 60, 'ten pings of the agent, over more than the limit');
  t.equal((await agent.finish()).ending, 'end', 'then it is closed');
  t.not((await upstream.finish()).ending, 'open');
  t.equal((await limit('answer_idle')) - before, 1);
});

t.test('total: a stream is cut though it speaks; before an answer it is 504', async (t) => {
  const agent = await tunnel(scene, 'total.test');
  agent.send(GET('total.test'));
  const upstream = await scene.upstream('total.test:443');
  upstream.send(EVENTS);
  const timer = setInterval(() => upstream.send(EVENT), 100);
  const begun = performance.now();
  const { rest, ending } = await agent.finish();
  const took = performance.now() - begun;
  clearInterval(timer);
  t.equal(ending, 'end');
  t.notMatch(rest, /0\r\n\r\n$/, 'it does not look whole');
  t.ok(took > 1_300 && took < 1_500 + 3 * TICK_MS, `after ${took} ms`);

  const unheard = await tunnel(scene, 'body.test');
  unheard.send('POST / HTTP/1.1\r\nHost: body.test\r\nContent-Length: 9\r\n\r\nhalf');
  t.equal(await unheard.refused(), '504 upstream_timeout end', 'with half of the request too');
  t.equal(await limit('total_time'), 2);
});

t.test('by default a stream has neither: a silence of seconds passes', async (t) => {
  const agent = await tunnel(scene, 'free.test');
  agent.send(GET('free.test'));
  const upstream = await scene.upstream('free.test:443');
  upstream.send(EVENTS + EVENT);
  await agent.readTo(EVENT);
  await delay(2_000);
  upstream.send(EVENT);
  t.equal(await agent.readTo(EVENT), EVENT);
});
