import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type tls from 'node:tls';
import t from 'tap';
import { WORKER_SEMI_SPACE } from '../../src/supervisor/isolation/isolation.ts';
import { SECRET } from '../support/carry.ts';
import { makeCa, makeServerCert } from '../support/certificates.ts';
import { startTlsServer } from '../support/tls-server.ts';
import { TestWorker } from '../support/worker.ts';

/** bench/memory.ts takes 1 GiB. Whatever were kept of it would show with this much too. */
const VOLUME = 100 * 1024 * 1024;
const MOST_KB = 150 * 1024;
const PIECE = Buffer.allocUnsafe(256 * 1024);
randomFillSync(PIECE);

/** Writes `VOLUME` bytes as fast as they are taken. */
async function pour(socket: tls.TLSSocket): Promise<void> {
  for (let sent = 0; sent < VOLUME; sent += PIECE.length) {
    if (!socket.write(PIECE)) await once(socket, 'drain');
  }
}

t.test('100 MiB up and down pass through a worker that stays small', async (t) => {
  const ca = makeCa();
  let received = 0;
  const server = await startTlsServer(makeServerCert(ca, 'a.test'), (socket) => {
    let inBody = false;
    socket.on('data', (chunk: Buffer) => {
      const bodyAt = inBody ? 0 : chunk.indexOf('\r\n\r\n') + 4;
      if (!inBody && chunk.indexOf('GET ') === 0) {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${VOLUME}\r\n\r\n`);
        pour(socket).catch(() => {}); // one of the agents leaves
        return;
      }
      inBody = true;
      received += chunk.length - bodyAt;
      if (received < VOLUME) return;
      inBody = false;
      socket.write('HTTP/1.1 204 No Content\r\n\r\n');
    });
  });
  const worker = await TestWorker.start({
    upstreams: { 'a.test:443': server.port },
    upstreamCa: ca.cert,
    rules: [{ host: 'a.test' }],
    nodeOptions: [WORKER_SEMI_SPACE],
    secrets: { 'credential-1': { token: SECRET } },
  });
  t.teardown(async () => {
    await worker.stop();
    await server.close();
  });
  const peakKb = (): number =>
    Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${worker.process.pid}/status`, 'latin1'))?.[1]);

  const down = await worker.tunnel('a.test:443');
  down.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  let arrived = 0;
  await new Promise<void>((resolve, reject) => {
    down.on('error', reject);
    down.on('data', (chunk: Buffer) => {
      arrived += chunk.length;
      if (arrived > VOLUME) resolve();
    });
  });
  t.ok(arrived > VOLUME && arrived < VOLUME + 1_000, 'all of the answer arrived');

  const up = await worker.tunnel('a.test:443');
  up.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${VOLUME}\r\n\r\n`);
  const answered = once(up, 'data');
  await pour(up);
  t.match(String(await answered), /^HTTP\/1\.1 204 /);
  t.equal(received, VOLUME, 'all of the body arrived');

  const slow = await worker.tunnel('a.test:443');
  slow.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  await once(slow, 'data');
  slow.pause();
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  slow.destroy();
  t.ok(
    peakKb() < MOST_KB,
    `${Math.round(peakKb() / 1024)} MiB at most, with an agent that does not read among them`,
  );
});
