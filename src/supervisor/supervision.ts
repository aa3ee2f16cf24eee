import type { z } from 'zod';
import type { Channel } from '../channel/channel.ts';
import type { ExchangerReply, FromVault, ToVault } from '../channel/messages/supervisor.ts';
import { SallyportError } from '../errors.ts';
import type { Child } from './child.ts';
import { Children } from './children.ts';
import type { ChildKind, Isolation } from './isolation/isolation.ts';
import type { ServeOptions } from './options.ts';
import { PinWatch } from './pin-watch.ts';
import type { Rendezvous } from './rendezvous.ts';
import { Starts, VAULT_START_TIMEOUT_MS } from './starts.ts';
import type { Listeners } from './vault-start.ts';

const DRAIN_MS = 10_000;
const STALE_DRAIN_MS = 2_000;
const ABANDON_MS = 2_000;

/**
 * Starts the processes in their order and again where one dies. It holds no secret, and reads from no channel that it
 * hands out.
 */
export class Supervision {
  readonly #options: ServeOptions;
  readonly #children: Children;
  readonly #pin: PinWatch;
  readonly #starts: Starts;
  #vault: Channel | undefined;
  #stopping = false;
  #fail: (error: Error) => void = () => {};
  readonly failed: Promise<never>;

  constructor(options: ServeOptions, isolation: Isolation, rendezvous: Rendezvous, listeners: Listeners) {
    this.#options = options;
    this.#children = new Children(options.data, isolation, (kind, name) => this.#exited(kind, name));
    this.#pin = new PinWatch(options.pinFile, () => this.#pinChanged());
    this.#starts = new Starts({
      ...{ options, isolation, rendezvous, listeners },
      children: this.#children,
      pin: this.#pin,
      answer: (message) => this.#answer(message),
    });
    this.failed = new Promise((_resolve, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => {}); // a caller that only drains need not look at it
  }

  async start(): Promise<void> {
    const vault = await this.#startVault();
    await this.#startKeyholder(vault, 1);
    // Only at the first start: later an HSM that is away for a while is waited for.
    await vault.request({ type: 'keyholder' } satisfies ToVault, [], () => undefined, VAULT_START_TIMEOUT_MS);
    const slots = Array.from({ length: this.#options.workers }, (_, index) => index + 1);
    await Promise.all(slots.map((slot) => this.#startWorker(vault, slot)));
    await vault.request({ type: 'open' } satisfies ToVault, [], () => undefined, VAULT_START_TIMEOUT_MS);
    await vault.request({ type: 'served' } satisfies ToVault, [], () => undefined, VAULT_START_TIMEOUT_MS);
    await this.#startMoreKeyholders(vault);
    this.#children.settled();
  }

  async drain(withinMs = DRAIN_MS): Promise<void> {
    this.#stopping = true;
    this.#vault?.event({ type: 'drain' } satisfies ToVault);
    await this.#children.gone(withinMs);
    this.#children.killAll();
    await this.#children.gone(DRAIN_MS);
    this.#vault?.close();
  }

  /** Ends a start that failed, and leaves the data folder as it was: the database closed, no journal with nothing in it. */
  async abandon(): Promise<void> {
    await this.drain(ABANDON_MS);
    this.#children.removeEmptyJournals();
  }

  #startVault(): Promise<Channel> {
    const born = (vault: Channel): void => {
      this.#vault = vault;
    };
    return this.#starts.vault(born, (gone) => this.#vaultGone(gone));
  }

  #startKeyholder(vault: Channel, slot: number): Promise<void> {
    const again = (lived: number): void => this.#again(vault, lived, () => this.#startKeyholder(vault, slot));
    return this.#starts.keyholder(vault, slot, again);
  }

  /** Nothing waits for these: one is enough to begin with. */
  async #startMoreKeyholders(vault: Channel): Promise<void> {
    for (let slot = 2; slot <= this.#options.keyholders; slot++) await this.#startKeyholder(vault, slot);
  }

  #startWorker(vault: Channel, slot: number): Promise<void> {
    const again = (lived: number): void => this.#again(vault, lived, () => this.#startWorker(vault, slot));
    return this.#starts.worker(vault, slot, again);
  }

  /** Starts another child in the place of one that is gone, unless its vault is gone too or we are stopping. */
  #again(vault: Channel, livedMs: number, start: () => Promise<void>): void {
    if (this.#stopping || vault !== this.#vault || vault.closed) return;
    const delay = livedMs > 1_000 ? 0 : 500; // what dies at once is not started in a tight loop
    setTimeout(() => {
      if (this.#stopping || vault !== this.#vault || vault.closed) return;
      start().catch((error: unknown) => {
        if (vault.closed) return; // another vault starts its own
        report(
          `a process could not be started again: ${error instanceof Error ? error.message : String(error)}`,
        );
        this.#again(vault, 0, start);
      });
    }, delay);
  }

  /**
   * The vault died: its keyholder ends with its channel, its workers go on with what is hot for 5 seconds at most. A
   * new vault takes changes only once those workers are gone, since it has no way to tell them of a revocation. It is
   * not waited for the HSM: without it the new workers refuse everything, and the API says why.
   */
  #vaultGone(gone: Channel): void {
    if (this.#stopping || gone !== this.#vault) return;
    report('the vault ended; starting it again');
    this.#vault = undefined;
    const stale = this.#children.all().filter((child) => child.kind !== 'vault');
    const restart = async (attempt: number): Promise<void> => {
      try {
        const vault = await this.#startVault();
        await this.#startKeyholder(vault, 1);
        const slots = Array.from({ length: this.#options.workers }, (_, index) => index + 1);
        await Promise.all(slots.map((slot) => this.#startWorker(vault, slot)));
        await this.#retire(stale);
        await vault.request({ type: 'open' } satisfies ToVault, [], () => undefined, VAULT_START_TIMEOUT_MS);
        await this.#startMoreKeyholders(vault);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        if (this.#stopping) return;
        report(`the vault could not be started again (attempt ${attempt}): ${why}`);
        if (attempt >= 10) return this.#fail(error instanceof Error ? error : new Error(why));
        for (const child of this.#children.all()) if (!stale.includes(child)) child.signal('SIGKILL');
        this.#vault = undefined;
        await new Promise((resolve) => setTimeout(resolve, 500 * attempt));
        await restart(attempt + 1);
      }
    };
    void restart(1);
  }

  #exited(kind: ChildKind, name: string): void {
    if (kind === 'vault' || !this.#vault || this.#vault.closed) return;
    this.#vault.event({ type: 'exit', name } satisfies ToVault);
  }

  /** Keyholders that were given another PIN file than the one that is there now end, and others are started with it. */
  #pinChanged(): void {
    if (this.#stopping) return;
    report('the PIN file has changed: keyholders are started again with it');
    for (const name of this.#pin.outdated()) this.#children.named(name)?.signal('SIGKILL');
  }

  async #retire(children: readonly Child[]): Promise<void> {
    for (const child of children) child.signal('SIGTERM');
    const timer = setTimeout(() => {
      for (const child of children) child.signal('SIGKILL');
    }, STALE_DRAIN_MS);
    await Promise.all(children.map((child) => child.gone));
    clearTimeout(timer);
  }

  async #answer(message: FromVault): Promise<{ header: unknown }> {
    if (message.type === 'worker-ready') {
      this.#starts.workerReady(message.name);
      return { header: {} };
    }
    if (message.type === 'pin-problem') {
      this.#pin.problem(message.name, message.refused);
      return { header: {} };
    }
    if (message.type === 'exchanger') {
      if (!this.#vault || this.#stopping)
        throw new SallyportError('draining', 'No exchange is begun any more.');
      const name = await this.#starts.exchanger(this.#vault);
      return { header: { name } satisfies z.infer<typeof ExchangerReply> };
    }
    if (message.type === 'processes') return { header: { processes: this.#children.processes() } };
    const child = this.#children.named(message.name);
    if (child) {
      report(`killing ${message.name}: ${message.reason}`);
      child.signal('SIGKILL');
      await child.gone;
    }
    return { header: {} };
  }
}

function report(line: string): void {
  process.stderr.write(`sallyport: ${line}\n`);
}
