import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { Carrier } from '../support/carry.ts';
import { connectHttp2 } from '../support/h2-agent.ts';

/** Within which an event that has arrived is to be on its way. */
const SOON_MS = 5;
const EVENTS = 80;
const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';

const carrier = await Carrier.start(['a.test', 'b.test']);
t.teardown(() => carrier.stop());

/**
 * Sends events one after another, and says how long the quickest quarter of them took at most, in ms. What holds events
 * back (a timer, Nagle, a buffer that fills) holds back all of them; a machine that is busy holds back some.
 */
async function quickest(send: (event: string) => void, arrival: () => Promise<void>): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < EVENTS; i++) {
    const data = `data: {"n":${i}}\n\n`;
    const begun = performance.now();
    send(`${data.length.toString(16)}\r\n${data}\r\n`);
    await arrival();
    times.push(performance.now() - begun);
    await delay(i % 5); // now and then they come one upon the other
  }
  times.sort((a, b) => a - b);
  return times[EVENTS / 4] ?? Number.POSITIVE_INFINITY;
}

t.test('an event is with the agent within 5 ms', async (t) => {
  const agent = await carrier.agent('a.test');
  agent.send('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  const upstream = await carrier.upstream('a.test');
  upstream.send(HEAD);
  await agent.readTo('\r\n\r\n');
  const took = await quickest(
    (event) => upstream.send(event),
    async () => void (await agent.readTo('\n\n\r\n')),
  );
  t.ok(took < SOON_MS, `${took.toFixed(2)} ms`);
});

t.test('over HTTP/2 too', async (t) => {
  const session = await connectHttp2(carrier.worker, 'b.test');
  t.teardown(() => session.destroy());
  const stream = session.request({ ':path': '/' });
  stream.on('error', () => {});
  const upstream = await carrier.upstream('b.test');
  upstream.send(HEAD);
  let arrived = (): void => {};
  stream.on('data', (chunk: Buffer) => {
    if (chunk.includes('\n\n')) arrived();
  });
  await new Promise((resolve) => stream.once('response', resolve));
  const took = await quickest(
    (event) => upstream.send(event),
    () =>
      new Promise((resolve) => {
        arrived = resolve;
      }),
  );
  t.ok(took < SOON_MS, `${took.toFixed(2)} ms`);
});
