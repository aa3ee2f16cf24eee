import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type tls from 'node:tls';
import { parseArgs } from 'node:util';
import { connect } from './agent.ts';
import { type Certificates, makeCertificates } from './certificates.ts';
import { HOST, type Peer } from './peer.ts';
import { startSallyport } from './peers/sallyport.ts';
import { descendant, freePort, residentKb } from './processes.ts';
import { machine, save } from './report.ts';
import { carry, startVolumeServer } from './volume.ts';

const USAGE = `usage: node bench/memory.ts [--short] [--output FILE]
What a worker holds: for an idle tunnel, after tunnels have been closed, and while a large body passes, up and down.`;

interface Plan {
  /** Tunnels that are open at once, and idle. */
  readonly held: number;
  /** Tunnels that are opened and closed again. */
  readonly closed: number;
  /** Of a body, each way. */
  readonly bodyMiB: number;
}

const LONG: Plan = { held: 10_000, closed: 20_000, bodyMiB: 1024 };
const SHORT: Plan = { held: 1_000, closed: 2_000, bodyMiB: 128 };
const AT_ONCE = 16;
const WARM_UP = 200;
/** Sockets that were closed are freed, and the collector has its turn. */
const SETTLE_MS = 3_000;
const MIB = 1024 * 1024;

/** Opens `count` tunnels, `AT_ONCE` at a time, and gives each to `use`. */
async function open(peer: Peer, count: number, use: (tunnel: tls.TLSSocket) => void): Promise<void> {
  let left = count;
  const some = async (): Promise<void> => {
    while (left-- > 0) use(await connect(peer.target));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, some));
}

interface Running {
  readonly peer: Peer;
  /** The worker's process id. */
  readonly worker: number;
}

/** Each figure is taken with a worker of its own: what one leaves behind is not the other's. */
async function withWorker<T>(
  folder: string,
  certificates: Certificates,
  bytes: number,
  use: (running: Running) => Promise<T>,
): Promise<T> {
  const upstreamPort = await freePort();
  const server = await startVolumeServer(upstreamPort, certificates, bytes);
  const peer = await startSallyport({ folder, upstreamPort, certificates });
  try {
    return await use({ peer, worker: descendant(peer.pid ?? 0, '/proxy/main.') });
  } finally {
    await peer.stop();
    server.close();
  }
}

async function body({ peer, worker }: Running, bytes: number) {
  await carry(peer.target, bytes);
  return { peakMiB: mib(residentKb(worker, 'VmHWM')) };
}

/** What it holds after a few tunnels, in KB: code is compiled then, and first tables are made. */
async function warm({ peer, worker }: Running): Promise<number> {
  await open(peer, WARM_UP, (tunnel) => tunnel.destroy());
  await delay(SETTLE_MS);
  return residentKb(worker, 'VmRSS');
}

async function held(running: Running, count: number) {
  const before = await warm(running);
  const tunnels: tls.TLSSocket[] = [];
  await open(running.peer, count, (tunnel) => tunnels.push(tunnel));
  await delay(SETTLE_MS);
  const after = residentKb(running.worker, 'VmRSS');
  for (const tunnel of tunnels) tunnel.destroy();
  return { beforeMiB: mib(before), afterMiB: mib(after), tunnelKb: round((after - before) / count) };
}

async function closed(running: Running, count: number) {
  const before = await warm(running);
  await open(running.peer, count, (tunnel) => tunnel.destroy());
  await delay(SETTLE_MS);
  const after = residentKb(running.worker, 'VmRSS');
  return { beforeMiB: mib(before), afterMiB: mib(after), tunnelKb: round((after - before) / count) };
}

function mib(kb: number): number {
  return round(kb / 1024);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

const { values } = parseArgs({
  options: { short: { type: 'boolean' }, output: { type: 'string' }, help: { type: 'boolean' } },
});
if (values.help) {
  process.stdout.write(`${USAGE}\n`);
} else {
  const plan = values.short ? SHORT : LONG;
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-memory-'));
  try {
    const certificates = makeCertificates(folder, HOST);
    const bytes = plan.bodyMiB * MIB;
    const run = <T>(name: string, use: (running: Running) => Promise<T>): Promise<T> =>
      withWorker(join(folder, name), certificates, bytes, use);
    const figures = {
      body: await run('body', (running) => body(running, bytes)),
      held: await run('held', (running) => held(running, plan.held)),
      closed: await run('closed', (running) => closed(running, plan.closed)),
    };
    const output = values.output ?? join(import.meta.dirname, 'results', 'memory.json');
    save(output, { date: new Date().toISOString(), machine: machine(), plan, figures });
    const tunnels = (of: typeof figures.held): string =>
      `${of.tunnelKb} KB each (${of.beforeMiB} MiB before, ${of.afterMiB} after)`;
    process.stdout.write(`A worker's memory:
${plan.bodyMiB} MiB of body down, as much up: at most ${figures.body.peakMiB} MiB
${plan.held} idle tunnels: ${tunnels(figures.held)}
${plan.closed} tunnels opened and closed: ${tunnels(figures.closed)}
Written to ${output}
`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
