import { readFileSync } from 'node:fs';
import t from 'tap';
import { SECRET } from '../support/carry.ts';
import { makeCa, makeServerCert } from '../support/certificates.ts';
import { FLAG, frame, literals, readUntil, TYPE } from '../support/h2-frames.ts';
import { startTlsServer } from '../support/tls-server.ts';
import { Wire } from '../support/wire.ts';
import { TestWorker } from '../support/worker.ts';

const HOST = 'a.test';
const GROWTH_KB = 40 * 1024;
const ok = literals([':status', '200']);
const early = literals([':status', '103']);
/** A field of 4,000 bytes put into the dynamic table, then named 12,000 times by its index. */
const bomb = Buffer.concat([
  ok,
  Buffer.of(0x40),
  literals(['x', 'y'.repeat(4_000)]).subarray(1),
  Buffer.alloc(12_000, 0xbe),
]);

/** What a hostile server of HTTP/2 writes, once it has a request, and how often. */
const attacks: readonly [string, number, (index: number) => Buffer][] = [
  ['settings', 5_000, () => frame(TYPE.settings, 0, 0)],
  ['pings', 5_000, () => frame(TYPE.ping, 0, 0, Buffer.alloc(8))],
  ['a head that decodes to a large one (HPACK bomb)', 1, () => frame(TYPE.headers, FLAG.endHeaders, 1, bomb)],
  [
    'a head without an end (CONTINUATION)',
    2_000,
    (i) =>
      i === 0
        ? frame(TYPE.headers, 0, 1, ok)
        : frame(TYPE.continuation, 0, 1, literals(['x', 'y'.repeat(1_000)])),
  ],
  ['interim answers without an end', 5_000, () => frame(TYPE.headers, FLAG.endHeaders, 1, early)],
  ['a stream of its own making', 1, () => frame(TYPE.headers, FLAG.endHeaders | FLAG.endStream, 2, ok)],
];

t.test('a server’s floods end with its connection, and cost the worker no memory', async (t) => {
  let piece: (index: number) => Buffer = () => Buffer.alloc(0);
  let enough = 0;
  const ca = makeCa();
  const server = await startTlsServer(
    makeServerCert(ca, HOST),
    async (socket) => {
      const wire = new Wire(socket);
      socket.write(frame(TYPE.settings, 0, 0));
      await wire.read(24); // the preface
      await readUntil(wire, ({ type }) => type === TYPE.headers);
      for (let i = 0; i < enough && socket.writable; i++) {
        const taken = socket.write(piece(i));
        if (i % 20 === 19) await new Promise((resolve) => setImmediate(resolve));
        if (!taken && socket.writable) {
          const closed = new Promise((resolve) => socket.once('close', resolve));
          await Promise.race([closed, new Promise((resolve) => socket.once('drain', resolve))]);
        }
      }
    },
    { ALPNProtocols: ['h2'] },
  );
  const worker = await TestWorker.start({
    upstreams: { [`${HOST}:443`]: server.port },
    upstreamCa: ca.cert,
    rules: [{ host: HOST, http2: true }],
    secrets: { 'credential-1': { token: SECRET } },
    nodeOptions: ['--max-semi-space-size=1'], // what nothing refers to goes soon: what is held is measured
  });
  t.teardown(async () => {
    await worker.stop();
    await server.close();
  });
  const kb = (): number =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${worker.process.pid}/status`, 'latin1'))?.[1]);
  const before = kb();
  for (const [what, times, write] of attacks) {
    piece = write;
    enough = times;
    const agent = new Wire(await worker.tunnel(`${HOST}:443`));
    agent.send(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 0\r\n\r\n`);
    t.match(await agent.readTo('"code"', 10_000), /HTTP\/1\.1 50[23] /, `${what}: the agent is told`);
    t.ok(kb() - before < GROWTH_KB, `${what}: ${Math.round((kb() - before) / 1024)} MiB more than before`);
    server.reset();
    agent.socket.destroy();
  }
  const agent = new Wire(await worker.tunnel(`${HOST}:443`));
  agent.send('GET / HTTP/1.1\r\nHost: other.test\r\n\r\n');
  t.match(await agent.readTo('}'), /^HTTP\/1\.1 421 /, 'the worker answers');
  agent.socket.destroy();
});
