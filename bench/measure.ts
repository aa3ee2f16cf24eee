import { type Load, type LoadResult, runLoad } from './load.ts';
import type { Peer } from './peer.ts';

/** How long each load runs, in seconds, and how often all of it is done. */
export interface Plan {
  readonly rounds: number;
  readonly warmUp: number;
  readonly latency: number;
  readonly throughput: number;
  readonly tunnels: number;
  readonly resumed: boolean;
}

/** The figures of one peer in one round, or the medians of all of its rounds. Times in microseconds; null: not measured. */
export interface Figures {
  readonly p50: number;
  readonly p99: number;
  /** Beyond what the same request took without a proxy, in the same round. */
  readonly addedP50: number | null;
  readonly addedP99: number | null;
  readonly requestsPerSecond: number;
  readonly cpuPerRequest: number | null;
  readonly tunnelsPerSecond: number | null;
  readonly cpuPerTunnel: number | null;
  /** Where the client offers its newest session each time, and how many of these offers were taken (0 to 1). */
  readonly cpuPerResumedTunnel: number | null;
  readonly resumedShare: number | null;
}

export const LATENCY_CONNECTIONS = 1;
export const THROUGHPUT_CONNECTIONS = 32;
export const TUNNEL_CONNECTIONS = 8;
const WARM_UP = 0.2;

/** Lets a peer reach its speed before it is measured: compiled code, pooled connections, cached certificates. */
export async function warmUp(program: string, peer: Peer, seconds: number): Promise<void> {
  const throughput = { connections: THROUGHPUT_CONNECTIONS, seconds, warmUp: 0 };
  await runLoad(program, peer.target, throughput, undefined);
  if (peer.pid === undefined) return;
  const tunnels = {
    connections: TUNNEL_CONNECTIONS,
    seconds: seconds / 2,
    warmUp: 0,
    fresh: 'full',
  } as const;
  await runLoad(program, peer.target, tunnels, undefined);
}

/** Puts every load on a peer, once. Throws where requests failed: a peer that errs is not fast. */
export async function measure(
  program: string,
  peer: Peer,
  plan: Plan,
  direct: Figures | undefined,
): Promise<Figures> {
  const run = async (load: Omit<Load, 'warmUp'>): Promise<LoadResult> => {
    const result = await runLoad(program, peer.target, { ...load, warmUp: WARM_UP }, peer.pid);
    if (result.requests === 0 || result.errors > result.requests / 1000) {
      const { requests, errors, firstError } = result;
      const how = `${load.connections} connections${load.fresh ? `, each request a new one (${load.fresh} handshake)` : ''}`;
      throw new Error(
        `${peer.name} failed at ${how}: ${requests} requests in ${load.seconds} s, ${errors} errors ${firstError && `(${firstError})`}`,
      );
    }
    return result;
  };
  const cpuPer = (result: LoadResult | undefined): number | null =>
    result === undefined || peer.pid === undefined ? null : result.cpu / result.requests;
  const alone = await run({ connections: LATENCY_CONNECTIONS, seconds: plan.latency });
  const many = await run({ connections: THROUGHPUT_CONNECTIONS, seconds: plan.throughput });
  const tunnels = { connections: TUNNEL_CONNECTIONS, seconds: plan.tunnels };
  const proxied = peer.pid !== undefined;
  const full = proxied ? await run({ ...tunnels, fresh: 'full' }) : undefined;
  const resumed = proxied && plan.resumed ? await run({ ...tunnels, fresh: 'resumed' }) : undefined;
  return {
    p50: alone.p50,
    p99: alone.p99,
    addedP50: direct ? alone.p50 - direct.p50 : null,
    addedP99: direct ? alone.p99 - direct.p99 : null,
    requestsPerSecond: many.requestsPerSecond,
    cpuPerRequest: cpuPer(many),
    tunnelsPerSecond: full?.requestsPerSecond ?? null,
    cpuPerTunnel: cpuPer(full),
    cpuPerResumedTunnel: cpuPer(resumed),
    resumedShare: resumed ? resumed.resumed / resumed.requests : null,
  };
}

/** The median of those values that were measured; null where none was. */
export function median(measured: readonly (number | null)[]): number | null {
  const values = measured.filter((value) => value !== null).sort((a, b) => a - b);
  const middle = (values.length - 1) / 2;
  const [low, high] = [values[Math.floor(middle)], values[Math.ceil(middle)]];
  return low === undefined || high === undefined ? null : (low + high) / 2;
}

/** The median of each figure over the rounds. */
export function medians(rounds: readonly Figures[]): Figures {
  const of = (figure: keyof Figures): number | null => median(rounds.map((round) => round[figure]));
  return {
    p50: of('p50') ?? 0,
    p99: of('p99') ?? 0,
    addedP50: of('addedP50'),
    addedP99: of('addedP99'),
    requestsPerSecond: of('requestsPerSecond') ?? 0,
    cpuPerRequest: of('cpuPerRequest'),
    tunnelsPerSecond: of('tunnelsPerSecond'),
    cpuPerTunnel: of('cpuPerTunnel'),
    cpuPerResumedTunnel: of('cpuPerResumedTunnel'),
    resumedShare: of('resumedShare'),
  };
}
