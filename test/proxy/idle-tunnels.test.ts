import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type tls from 'node:tls';
import t from 'tap';
import { WORKER_SEMI_SPACE } from '../../src/supervisor/isolation/isolation.ts';
import { TestWorker } from '../support/worker.ts';

t.setTimeout(120_000);
const HELD = 500;
const CLOSED = 500;
const AT_ONCE = 8;
/** What an idle tunnel may take: bench/memory.ts measures it with 10,000. */
const TUNNEL_KB = 60;
/** What the collector has not looked at yet: the young generation, and as much again. */
const GARBAGE_KB = 12 * 1024;

t.test('idle tunnels take 60 KB each, and closed ones nothing', async (t) => {
  const worker = await TestWorker.start({
    upstreams: { 'a.test:443': 9 },
    upstreamCa: '',
    rules: [{ host: 'a.test' }],
    nodeOptions: [WORKER_SEMI_SPACE],
  });
  t.teardown(() => worker.stop());
  const residentKb = (): number =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${worker.process.pid}/status`, 'latin1'))?.[1]);
  const open = async (count: number, use: (tunnel: tls.TLSSocket) => void): Promise<void> => {
    let left = count;
    const some = async (): Promise<void> => {
      while (left-- > 0) use(await worker.tunnel('a.test:443'));
    };
    await Promise.all(Array.from({ length: AT_ONCE }, some));
    await delay(500); // the last of those that were closed are freed
  };

  await open(100, (tunnel) => tunnel.destroy());
  const before = residentKb();
  await open(CLOSED, (tunnel) => tunnel.destroy());
  const closed = residentKb() - before;
  t.ok(closed < GARBAGE_KB, `${closed} KB more after ${CLOSED} were opened and closed`);

  const warm = residentKb();
  const tunnels: tls.TLSSocket[] = [];
  await open(HELD, (tunnel) => tunnels.push(tunnel));
  const held = residentKb() - warm;
  t.ok(held < HELD * TUNNEL_KB + GARBAGE_KB, `${Math.round(held / HELD)} KB for each of ${HELD}`);
  t.equal(tunnels.filter(({ destroyed }) => destroyed).length, 0, 'all of them are there');
  for (const tunnel of tunnels) tunnel.destroy();
});
