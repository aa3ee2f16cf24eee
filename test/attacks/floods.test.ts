import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type Agent, AgentTunnel, basic } from '../support/agent.ts';
import { run } from '../support/curl.ts';
import { startScene } from '../support/scene.ts';

t.setTimeout(120_000);
/** Fewer than by default, so that even a machine that is busy with other things is flooded. */
const config = join(mkdtempSync(join(tmpdir(), 'sallyport-floods-')), 'serve.json');
writeFileSync(config, JSON.stringify({ limits: { tunnelBurst: 1_000, tunnelsPerSecond: 100 } }));
const scene = await startScene({ flags: ['--workers', '1', '--config', config] });
t.teardown(async () => {
  await scene.remove();
  rmSync(dirname(config), { recursive: true, force: true });
});
const { proxy } = scene.sallyport;
const port = Number(new URL(proxy).port);
const flooder = await scene.addAgent('flooder');
const victim = await scene.addAgent('victim');
await scene.setCredential('bearer', 'a-credential', { agents: ['flooder', 'victim'] });
await scene.setCredential('wild', 'another-credential', { agents: ['flooder'] });

const FLOODER = fileURLToPath(new URL('../support/flooder.ts', import.meta.url));
/** What 99 of 100 of the victim's requests may take on a machine that floods itself; they take 2 ms without. */
const PATIENCE_MS = 1_000;

interface Flood {
  readonly lines: string;
  readonly at: number;
  readonly rounds: number;
  readonly holdMs?: number;
}

/** Floods from another process, while the victim goes on; answers how many connections got which status. */
async function flooded(t: Test, { holdMs = 0, ...flood }: Flood): Promise<Record<string, number>> {
  let over = false;
  const flooding = run(process.execPath, [FLOODER, JSON.stringify({ port, holdMs, ...flood })]).finally(
    () => {
      over = true;
    },
  );
  const times: number[] = [];
  let tunnel = await AgentTunnel.open(proxy, victim, 'bearer.test');
  while (!over) {
    const begun = performance.now();
    if (times.length % 5 === 0) {
      tunnel.close();
      tunnel = await AgentTunnel.open(proxy, victim, 'bearer.test');
    }
    const { status } = await tunnel.request('/');
    if (status !== 200) t.equal(status, 200, 'the victim is served');
    times.push(performance.now() - begun);
  }
  tunnel.close();
  times.sort((a, b) => a - b);
  const p99 = times[Math.floor(times.length * 0.99)] ?? Number.POSITIVE_INFINITY;
  t.ok(
    times.length > 5 && p99 < PATIENCE_MS,
    `the victim: ${times.length} requests, p99 ${p99.toFixed(1)} ms`,
  );
  const { stdout, stderr } = await flooding;
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

function connectTo(target: string, agent: Agent): string {
  return `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nProxy-Authorization: ${basic(agent)}\r\n\r\n`;
}

t.test('new tunnels by the thousand are paced, then refused', async (t) => {
  const {
    '200': opened = 0,
    '429': refused = 0,
    ...others
  } = await flooded(t, {
    lines: connectTo('bearer.test:443', flooder),
    at: 2_500,
    rounds: 1,
  });
  t.ok(opened >= 1_000, `${opened} were opened`);
  t.ok(refused > 0, `${refused} were refused`);
  t.same(others, {}, 'each with 429');
});

t.test('a certificate for each of very many hosts: 600 a minute and no more', async (t) => {
  const {
    '200': opened = 0,
    '429': refused = 0,
    ...others
  } = await flooded(t, {
    lines: connectTo('h%d.wild.test:443', flooder),
    at: 100,
    rounds: 7,
  });
  t.ok(opened >= 600 && opened < 700, `${opened} were made`);
  t.same([opened + refused, others], [700, {}]);
});

t.test('heads that never end, from strangers', async (t) => {
  const { '': silent = 0 } = await flooded(t, { lines: 'CONNECT slow', at: 500, rounds: 1, holdMs: 1_500 });
  t.equal(silent, 500, 'they wait, and nobody for them');
});

t.test('handshakes that never come', async (t) => {
  const lines = connectTo('bearer.test:443', flooder);
  const { '200': opened = 0 } = await flooded(t, { lines, at: 300, rounds: 1, holdMs: 1_500 });
  t.ok(opened > 0);
});

t.test('tokens guessed as fast as it goes', async (t) => {
  const lines = connectTo('bearer.test:443', { ...flooder, token: 'spa_guess' });
  const statuses = await flooded(t, { lines, at: 100, rounds: 5 });
  t.same(statuses, { '407': 500 });
});
