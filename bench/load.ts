import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { HOST, type Target } from './peer.ts';
import { cpuMicroseconds, start } from './processes.ts';

/** What one run of the load generator found. Latencies in microseconds. */
export interface LoadResult {
  readonly requests: number;
  readonly errors: number;
  readonly seconds: number;
  readonly requestsPerSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly resumed: number;
  readonly firstError: string;
  /** CPU time of the measured processes while the requests were counted, in microseconds. */
  readonly cpu: number;
}

export interface Load {
  readonly connections: number;
  readonly seconds: number;
  readonly warmUp: number;
  /** A new connection for each request: with a full handshake, or resuming the TLS session. */
  readonly fresh?: 'full' | 'resumed';
}

/** Runs the load generator `program` against `target`, and measures the CPU time of `pid` and its descendants meanwhile. */
export async function runLoad(
  program: string,
  target: Target,
  load: Load,
  pid: number | undefined,
): Promise<LoadResult> {
  const args = ['-a', `127.0.0.1:${target.port}`, '-s', HOST, '-A', target.roots];
  args.push('-c', String(load.connections), '-d', String(load.seconds), '-w', String(load.warmUp));
  if (target.tunnel !== undefined) args.push('-t', target.tunnel);
  if (target.field !== undefined) args.push('-H', target.field);
  if (load.fresh) args.push('-N');
  if (load.fresh === 'resumed') args.push('-r');
  const env = target.user === undefined ? {} : { PROXY_USER: target.user }; // not argv, which everyone can read
  const child = start('rest', [program, ...args], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  if (!child.stdout) throw new Error('The load generator has no output.');
  let before = 0;
  let after = 0;
  let figures = '';
  for await (const line of createInterface(child.stdout)) {
    const cpu = pid === undefined ? 0 : cpuMicroseconds(pid);
    if (figures === '' && line === '{"event":"counting"}') before = cpu;
    else figures = line;
    after = cpu;
  }
  const [code] = await exit;
  if (code !== 0 || figures === '') throw new Error(`The load generator failed (exit code ${code}).`);
  return { ...JSON.parse(figures), cpu: after - before };
}
