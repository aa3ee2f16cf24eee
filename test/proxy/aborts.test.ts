import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { Carrier, SECRET } from '../support/carry.ts';
import { startMoodyServer } from '../support/moody-server.ts';
import { countInMemory } from '../support/process-memory.ts';
import { tcpUnder } from '../support/wire.ts';
import { TestWorker } from '../support/worker.ts';

const SOON_MS = 100;
const ABORTS = 500;
const AT_ONCE = 6;

/** How long until `ended` says so; more than `SOON_MS` where it does not. */
async function until(ended: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await ended();
  return performance.now() - begun;
}

t.test('each side’s abort reaches the other within 100 ms', async (t) => {
  const carrier = await Carrier.start(['a.test']);
  t.teardown(() => carrier.stop());
  const head = 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\n';
  const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf';

  for (const [state, sent, answered] of [
    ['while the body comes', `${head}half`, ''],
    ['while the server works', `${head}whole body`, ''],
    ['within the answer', `${head}whole body`, answer],
  ] as const) {
    for (const how of ['destroy', 'reset', 'end and destroy'] as const) {
      const agent = await carrier.agent('a.test');
      agent.send(sent);
      const upstream = await carrier.upstream('a.test');
      await upstream.readTo(sent.slice(-4));
      upstream.send(answered);
      await agent.read(answered.length);
      if (how === 'destroy') agent.socket.destroy();
      else if (how === 'end and destroy') agent.socket.end(() => agent.socket.destroy());
      else tcpUnder(agent.socket).resetAndDestroy();
      t.ok((await until(() => upstream.finish())) < SOON_MS, `the agent’s ${how} ${state}`);
    }
    for (const how of ['destroy', 'reset'] as const) {
      const agent = await carrier.agent('a.test');
      agent.send(sent);
      const upstream = await carrier.upstream('a.test');
      await upstream.readTo(sent.slice(-4));
      upstream.send(answered);
      await agent.read(answered.length);
      if (how === 'destroy') upstream.socket.destroy();
      else tcpUnder(upstream.socket).resetAndDestroy();
      if (answered === '') {
        t.ok((await until(() => agent.readTo(' 502 '))) < SOON_MS, `the server’s ${how} ${state}`);
      } else {
        t.ok((await until(() => agent.finish())) < SOON_MS, `the server’s ${how} ${state}`);
      }
      agent.socket.destroy();
    }
  }
});

t.test('500 aborts at random moments leave nothing behind', async (t) => {
  const server = await startMoodyServer();
  const worker = await TestWorker.start({
    upstreams: { 'a.test:443': server.tls.port },
    upstreamCa: server.ca.cert,
    rules: [{ host: 'a.test' }],
    secrets: { 'credential-1': { token: SECRET } },
  });
  t.teardown(async () => {
    await worker.stop();
    await server.tls.close();
  });
  const pid = worker.process.pid ?? 0;
  const descriptors = (): number => readdirSync(`/proc/${pid}/fd`).length;
  await (await worker.tunnel('a.test:443')).destroy();
  await delay(100);
  const before = descriptors();

  const requests = [
    'GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n',
    'GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n',
    'PUT /3 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99\r\n\r\nshort',
    'POST /4 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    'GET /5 HTTP/1.1\r\nHost: a.te',
  ];
  const abort = async (index: number): Promise<void> => {
    if (index % 10 === 0) return void (await worker.connect('a.test:443')).destroy(); // without a handshake
    const agent = await worker.tunnel('a.test:443');
    agent.on('error', () => {});
    agent.resume();
    agent.write(requests[index % requests.length] ?? '');
    await delay(Math.random() ** 2 * 200);
    if (index % 3 === 0)
      agent.end(() => agent.destroy()); // as Go and Java do
    else if (index % 3 === 1) agent.destroy();
    else tcpUnder(agent).resetAndDestroy();
  };
  let next = 0;
  const run = async (): Promise<void> => {
    while (next < ABORTS) await abort(next++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, run));
  t.ok(server.seen() > ABORTS / 4, `the server saw ${server.seen()} requests`);

  for (let i = 0; i < 50 && server.working() > 0; i++) await delay(50);
  t.equal(server.working(), 0, 'the server works on none of them any more');
  const more = (): number => descriptors() - before - server.tls.open();
  for (let i = 0; i < 60 && more() > 0; i++) await delay(50); // we read on for a moment after our last word
  const idle = server.tls.open();
  t.equal(descriptors() - before, idle, `${idle} idle connections to the server and no other descriptor`);

  await worker.change((snapshot) => ({ rules: snapshot.rules.map((rule) => ({ ...rule, version: 2 })) }));
  t.same(countInMemory(pid, [Buffer.from(SECRET)]), [0], 'no lease holds the credential');
  const records = worker.journal.split('\n').filter((line) => line.startsWith('{"type":"'));
  const ids = (type: string) =>
    records.map((line) => JSON.parse(line)).filter((record) => record.type === type);
  const forwarded = ids('request').filter(({ decision }) => decision === 'injected');
  t.equal(ids('outcome').length, forwarded.length, 'every request that was recorded has its outcome');
});
