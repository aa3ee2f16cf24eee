import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { makeCertificates } from './certificates.ts';
import { type Figures, measure, medians, type Plan, warmUp } from './measure.ts';
import { HOST, type Peer, type StartPeer } from './peer.ts';
import { startDirect } from './peers/direct.ts';
import { startHttpMitmProxy } from './peers/http-mitm-proxy.ts';
import { startNginxPeer } from './peers/nginx.ts';
import { startSallyport } from './peers/sallyport.ts';
import { CORES, freePort, stop } from './processes.ts';
import { machine, type Row, ratios, save, table } from './report.ts';
import { buildLoad, MissingTool } from './tools.ts';
import { startUpstream } from './upstream.ts';

const PEERS: Readonly<Record<string, StartPeer>> = {
  direct: startDirect,
  nginx: startNginxPeer,
  'http-mitm-proxy': startHttpMitmProxy,
  sallyport: startSallyport,
};

const LONG: Plan = { rounds: 5, warmUp: 5, latency: 3, throughput: 4, tunnels: 3, resumed: true };
const SHORT: Plan = { rounds: 3, warmUp: 1.2, latency: 0.6, throughput: 1, tunnels: 0.8, resumed: false };

const USAGE = `usage: node bench/overhead.ts [--short] [--peers NAME,NAME,...] [--output FILE]
Peers: ${Object.keys(PEERS).join(', ')}; direct is always among them.`;

interface Options {
  readonly plan: Plan;
  readonly names: readonly string[];
  readonly output: string;
}

function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      short: { type: 'boolean' },
      peers: { type: 'string' },
      output: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return undefined;
  const names = values.peers?.split(',') ?? Object.keys(PEERS);
  if (names.some((name) => !Object.hasOwn(PEERS, name))) return undefined;
  return {
    plan: values.short ? SHORT : LONG,
    names: ['direct', ...names.filter((name) => name !== 'direct')],
    output: values.output ?? join(import.meta.dirname, 'results', 'latest.json'),
  };
}

/** Starts the peers and measures them in turn, round after round, so that what changes on the machine meets all alike. */
async function run({ plan, names, output }: Options): Promise<void> {
  const program = buildLoad();
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
  const stops: (() => Promise<void>)[] = [async () => rmSync(folder, { recursive: true, force: true })];
  try {
    const certificates = makeCertificates(folder, HOST);
    const upstreamPort = await freePort();
    const upstream = await startUpstream(join(folder, 'upstream'), upstreamPort, certificates);
    stops.push(() => stop(upstream));
    const peers: Peer[] = [];
    for (const name of names) {
      const peer = await PEERS[name]?.({ folder: join(folder, name), upstreamPort, certificates });
      if (!peer) continue;
      stops.push(() => peer.stop());
      peers.push(peer);
      await warmUp(program, peer, plan.warmUp);
    }
    const rounds = new Map<Peer, Figures[]>(peers.map((peer) => [peer, []]));
    for (let round = 1; round <= plan.rounds; round++) {
      let direct: Figures | undefined;
      for (const peer of peers) {
        progress(`round ${round} of ${plan.rounds}: ${peer.name}`);
        const figures = await measure(program, peer, plan, direct);
        direct ??= figures; // the first peer is the direct way
        rounds.get(peer)?.push(figures);
      }
    }
    progress('');
    const rows = [...rounds].map(
      ([{ name, version }, taken]): Row => ({ name, version, figures: medians(taken), rounds: taken }),
    );
    write(rows, plan, output);
  } finally {
    for (const end of stops.toReversed()) await end();
  }
}

/** One line of a terminal, written over and over. */
function progress(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line}`);
}

function write(rows: readonly Row[], plan: Plan, output: string): void {
  const nginx = rows.find(({ name }) => name === 'nginx');
  const peers = rows.map((row) => ({ ...row, ofNginx: ratios(row, nginx) }));
  save(output, { date: new Date().toISOString(), machine: machine(), plan, peers });
  const where = CORES
    ? 'the proxy on one core, load and upstream on another'
    : 'everything on the one core there is';
  process.stdout.write(
    `${table(rows)}\n\nMedians of ${plan.rounds} rounds, ${where}; written to ${output}\n`,
  );
}

const options = readOptions();
if (!options) {
  process.stderr.write(`${USAGE}\n`);
  process.exitCode = 2;
} else {
  try {
    await run(options);
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof MissingTool ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
