import type { Buffer } from 'node:buffer';
import type { Rule } from '../../channel/messages/policy.ts';
import type { Scheme } from '../authority.ts';
import type { UpstreamKey } from '../upstream/key.ts';
import type { Worker } from '../worker.ts';

/**
 * The agent's end of an exchange: a tunnel that speaks HTTP/1.1, or a stream of HTTP/2. What it is given to write are
 * the bytes of an HTTP/1.1 response, whole heads first.
 */
export interface AgentSide {
  readonly worker: Worker;
  /** The agent's id. */
  readonly agent: string;
  readonly agentName: string;
  /** Where the request in hand goes, and the token that it was sent with. */
  readonly scheme: Scheme;
  readonly host: string;
  readonly port: number;
  readonly token: Buffer;
  /** How a request to this host and port names them. */
  readonly authority: string;
  /** What the request before went with: most that follow ask for the same. */
  lastKey: { readonly rule: Rule; readonly key: UpstreamKey } | undefined;
  /** Whether the request in hand is one of gRPC, which needs HTTP/2 all the way. */
  readonly grpc: boolean;
  /**
   * Writes to the agent, and takes the bytes: they may be overwritten once it returns. False where it should wait for
   * `agentDrained`.
   */
  write(bytes: Buffer): boolean;
  /** The exchange can take (more of) the request's body now. */
  continue(): void;
  pauseAgent(): void;
  resumeAgent(): void;
  /** The request in hand is whole: an end without a close_notify now means that nobody waits. */
  watchEnd(): void;
  /** The same, for a request whose last bytes came in this very turn. */
  watchEndLater(): void;
  /** The exchange ended with its answer whole; `persistent`: the connection can take another request. */
  exchangeDone(persistent: boolean): void;
  /** The server has taken nothing of the request: says so in the protocol's own words; false where it has none. */
  refuse(): boolean;
  /** Cuts an answer whose framing does not show that it is cut. */
  reset(): void;
  destroy(): void;
}
