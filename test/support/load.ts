import { setTimeout as delay } from 'node:timers/promises';
import { type Agent, AgentTunnel } from './agent.ts';

export interface Called {
  /** Unique. */
  readonly path: string;
  /** Undefined where the tunnel broke before the answer. */
  readonly status: number | undefined;
  /** X-Sallyport-Error. */
  readonly code: string | undefined;
  /** Of which caller, on which of its tunnels. */
  readonly tunnel: string;
  /** When the answer or the break came: performance.now(). */
  readonly at: number;
  readonly tookMs: number;
}

/** Agents at work: callers that send one request after another, and open another tunnel where theirs breaks. */
export class Load {
  readonly calls: Called[] = [];
  readonly #callers: Promise<void>[];
  #going = true;

  /** `pauseMs`: between an answer and the next request of a caller. */
  constructor(
    proxy: string,
    agent: Agent,
    host: string,
    { callers = 6, pauseMs = 5, prefix = '' }: { callers?: number; pauseMs?: number; prefix?: string } = {},
  ) {
    this.#callers = Array.from({ length: callers }, async (_, caller) => {
      let tunnels = 0;
      let sent = 0;
      let tunnel: AgentTunnel | undefined;
      while (this.#going) {
        if (!tunnel || tunnel.closed) {
          tunnel = await AgentTunnel.open(proxy, agent, host).catch(() => undefined);
          tunnels++;
        }
        const path = `/${prefix}${caller}/${sent++}`;
        const began = performance.now();
        const answer = await tunnel?.request(path).catch(() => undefined);
        const at = performance.now();
        const code = answer?.headers['x-sallyport-error'];
        this.calls.push({
          path,
          status: answer?.status,
          code: code === undefined ? undefined : String(code),
          tunnel: `${caller}/${tunnels}`,
          at,
          tookMs: at - began,
        });
        if (!answer) tunnel?.close();
        await delay(pauseMs);
      }
      tunnel?.close();
    });
  }

  /** The calls that ended after `since`. */
  after(since: number): Called[] {
    return this.calls.filter(({ at }) => at >= since);
  }

  /** Lets every caller end. */
  async stop(): Promise<void> {
    this.#going = false;
    await Promise.all(this.#callers);
  }
}

/** The longest time, in ms, that passed between two answers 200 on one of these tunnels. */
export function longestPause(calls: readonly Called[]): number {
  let longest = 0;
  const last = new Map<string, number>();
  for (const { tunnel, status, at } of calls) {
    if (status !== 200) continue;
    longest = Math.max(longest, at - (last.get(tunnel) ?? at));
    last.set(tunnel, at);
  }
  return longest;
}
