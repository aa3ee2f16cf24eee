import { readdirSync } from 'node:fs';
import http2 from 'node:http2';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { SECRET } from '../../support/carry.ts';
import { answerOf, connectHttp2 } from '../../support/h2-agent.ts';
import { startMoodyServer } from '../../support/moody-server.ts';
import { countInMemory } from '../../support/process-memory.ts';
import { TestWorker } from '../../support/worker.ts';

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = http2.constants;
/** For each protocol of the server. */
const STREAMS = 250;
const SESSIONS = 25;

for (const protocol of ['http/1.1', 'h2'] as const)
  t.test(
    `streams that end at random moments leave nothing behind, nor a worker that spins: ${protocol} behind`,
    async (t) => {
      const server = await startMoodyServer(protocol);
      const worker = await TestWorker.start({
        upstreams: { 'a.test:443': server.tls.port },
        upstreamCa: server.ca.cert,
        rules: [{ host: 'a.test', http2: protocol === 'h2' }],
        secrets: { 'credential-1': { token: SECRET } },
      });
      t.teardown(async () => {
        await worker.stop();
        await server.tls.close();
      });
      const descriptors = (): number => readdirSync(`/proc/${worker.process.pid}/fd`).length;
      (await connectHttp2(worker, 'a.test')).destroy();
      await delay(100);
      const before = descriptors();

      const run = async (session: http2.ClientHttp2Session, index: number): Promise<void> => {
        const withBody = index % 3 === 0;
        const stream = session.request(
          { ':path': `/${index}`, ':method': withBody ? 'POST' : 'GET' },
          { endStream: !withBody },
        );
        stream.on('error', () => {});
        stream.resume();
        if (withBody) stream.write('begun');
        if (index % 6 === 0) setTimeout(() => stream.end(), Math.random() * 20);
        await delay(Math.random() ** 2 * 200);
        const ways = [
          () => stream.close(NGHTTP2_CANCEL),
          () => stream.close(NGHTTP2_NO_ERROR),
          () => stream.end(),
          () => stream.destroy(),
        ];
        ways[index % ways.length]?.();
      };
      for (let begun = 0; begun < STREAMS; begun += STREAMS / SESSIONS) {
        const session = await connectHttp2(worker, 'a.test');
        const running = Array.from({ length: STREAMS / SESSIONS }, (_, i) => run(session, begun + i));
        await (begun % 40 === 0 ? delay(Math.random() * 100) : Promise.all(running));
        if (begun % 3 === 0) session.close();
        setTimeout(() => session.destroy(), Math.random() * 50);
        await Promise.all(running).catch(() => {});
      }
      t.ok(server.seen() > STREAMS / 4, `the server saw ${server.seen()} requests`);
      for (let i = 0; i < 50 && server.working() > 0; i++) await delay(50);
      t.equal(server.working(), 0, 'the server works on none of them any more');
      await delay(50);
      const more = (): number => descriptors() - before - server.tls.open();
      for (let i = 0; i < 60 && more() > 0; i++) await delay(50);
      const idle = server.tls.open();
      t.equal(descriptors() - before, idle, `${idle} idle connections to the server and no other descriptor`);

      const records = worker.journal.split('\n').filter((line) => line.startsWith('{"type":"'));
      const ofType = (type: string) =>
        records.map((line) => JSON.parse(line)).filter((record) => record.type === type);
      const forwarded = ofType('request').filter(({ decision }) => decision === 'injected');
      t.equal(ofType('outcome').length, forwarded.length, 'every request that was recorded has its outcome');
      if (protocol === 'http/1.1') {
        // Towards HTTP/2 it is a string as well (test/attacks/memory-http2.test.ts).
        await worker.change(({ rules }) => ({ rules: rules.map((rule) => ({ ...rule, version: 2 })) }));
        const copies = countInMemory(worker.process.pid ?? 0, [Buffer.from(SECRET)]);
        t.same(copies, [0], 'no lease holds the credential');
      }
      const session = await connectHttp2(worker, 'a.test');
      const answer = await Promise.race([
        answerOf(session.request({ ':path': '/', ':authority': 'b.test' })),
        delay(2_000),
      ]);
      t.same(answer?.fields.slice(0, 2), [':status', '421'], 'the worker answers');
      session.destroy();
    },
  );
