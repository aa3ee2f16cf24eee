import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type Agent, basic } from '../support/agent.ts';
import { startScene } from '../support/scene.ts';

t.setTimeout(120_000);
const limits = { tunnelsPerAgent: 20, tunnelBurst: 60, tunnelsPerSecond: 1, leavesPerMinute: 12 };
const folder = mkdtempSync(join(tmpdir(), 'sallyport-limits-'));
const config = join(folder, 'serve.json');
writeFileSync(config, JSON.stringify({ limits }));
const scene = await startScene({ flags: ['--workers', '2', '--config', config] });
const sockets: net.Socket[] = [];
t.teardown(async () => {
  for (const socket of sockets) socket.destroy();
  await scene.remove();
  rmSync(folder, { recursive: true });
});
const port = Number(new URL(scene.sallyport.proxy).port);
const agents = {
  held: await scene.addAgent('held'),
  fast: await scene.addAgent('fast'),
  far: await scene.addAgent('far'),
};
await scene.setCredential('bearer', 'a-credential', { agents: ['held', 'fast'] });
await scene.setCredential('wild', 'another-credential', { agents: ['far'] });

/** The status with which a CONNECT is answered; the connection stays. */
async function connect(agent: Agent, host: string): Promise<number> {
  const socket = net.connect(port, '127.0.0.1');
  sockets.push(socket);
  socket.write(
    `CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}\r\nProxy-Authorization: ${basic(agent)}\r\n\r\n`,
  );
  const [answer] = await once(socket, 'data');
  return Number(String(answer).slice(9, 12));
}

const opened = (statuses: readonly number[]): number => statuses.filter((status) => status === 200).length;

t.test('two workers give an agent no more connections than one', async (t) => {
  const statuses: number[] = [];
  for (let i = 0; i < 48; i++) statuses.push(await connect(agents.held, 'bearer.test'));
  t.ok(opened(statuses) <= limits.tunnelsPerAgent, `${opened(statuses)} of ${limits.tunnelsPerAgent}`);
  t.ok(opened(statuses) >= limits.tunnelsPerAgent / 2, 'and no fewer than one worker’s share');
  t.ok(statuses.every((status) => status === 200 || status === 429));
});

t.test('nor more new ones at once', async (t) => {
  const begun = performance.now();
  const statuses: number[] = [];
  for (let i = 0; i < 150; i++) {
    statuses.push(await connect(agents.fast, 'bearer.test'));
    sockets.pop()?.destroy();
  }
  const more = ((performance.now() - begun) / 1_000 + 1) * limits.tunnelsPerSecond;
  t.ok(opened(statuses) <= limits.tunnelBurst + Math.ceil(more), `${opened(statuses)} were opened`);
  t.ok(opened(statuses) >= limits.tunnelBurst / 2);
  t.ok(statuses.includes(429));
});

t.test('nor more certificates', async (t) => {
  const begun = performance.now();
  const statuses: number[] = [];
  for (let i = 0; i < 28; i++) {
    statuses.push(await connect(agents.far, `h${i}.wild.test`));
    sockets.pop()?.destroy();
  }
  const more = ((performance.now() - begun) / 60_000) * limits.leavesPerMinute;
  t.ok(opened(statuses) <= limits.leavesPerMinute + Math.ceil(more), `${opened(statuses)} were made`);
  t.same(
    statuses.slice(0, limits.leavesPerMinute),
    Array(limits.leavesPerMinute).fill(200),
    'all that it may have',
  );
  const again = await Promise.all(Array.from({ length: 12 }, () => connect(agents.far, 'h0.wild.test')));
  t.ok(opened(again) > 0, 'the worker that has one goes on serving with it');
});
