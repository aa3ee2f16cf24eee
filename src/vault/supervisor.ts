import type { Channel } from '../channel/channel.ts';
import { ExchangerReply, type FromVault, ProcessesReply } from '../channel/messages/supervisor.ts';

/** The supervisor kills with SIGKILL, which takes effect at once unless the kernel itself is stuck. */
const KILL_MS = 5_000;
const PROCESSES_MS = 2_000;
/** Of a process; a busy machine takes its time. */
const START_MS = 5_000;

/** What the vault asks of the supervisor. */
export class SupervisorClient {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Resolves once the named process is gone (it is then started anew). Rejects where that is not certain. */
  kill(name: string, reason: string): Promise<void> {
    const message: FromVault = { type: 'kill', name, reason };
    return this.#channel.request(message, [], () => undefined, KILL_MS);
  }

  processes() {
    const message: FromVault = { type: 'processes' };
    return this.#channel.request(
      message,
      [],
      (header) => ProcessesReply.parse(header).processes,
      PROCESSES_MS,
    );
  }

  /** Has an exchanger started, which `connect` has connected by then; its name. Throws draining, channel_timeout. */
  startExchanger(): Promise<string> {
    const message: FromVault = { type: 'exchanger' };
    return this.#channel.request(message, [], (header) => ExchangerReply.parse(header).name, START_MS);
  }

  /** The PIN that the keyholder `name` was given cannot be used; `refused`: the token has said so. */
  pinProblem(name: string, refused: boolean): void {
    this.#channel.event({ type: 'pin-problem', name, refused } satisfies FromVault);
  }

  workerReady(name: string): void {
    this.#channel.event({ type: 'worker-ready', name } satisfies FromVault);
  }
}
