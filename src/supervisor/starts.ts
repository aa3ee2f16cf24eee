import { join } from 'node:path';
import { Channel } from '../channel/channel.ts';
import { FromVault, type ToVault } from '../channel/messages/supervisor.ts';
import { SallyportError } from '../errors.ts';
import { EXCHANGER_PROVISION, keyholderProvision, vaultProvision, workerProvision } from './births.ts';
import type { Children } from './children.ts';
import type { ChildKind, Isolation } from './isolation/isolation.ts';
import type { ServeOptions } from './options.ts';
import type { PinWatch } from './pin-watch.ts';
import { previousJournal } from './previous-journal.ts';
import type { Rendezvous } from './rendezvous.ts';
import { withSecrets } from './secret-files.ts';
import { type Listeners, secretFiles, vaultStart } from './vault-start.ts';

/** The longest that the vault may take for a step of a start. */
export const VAULT_START_TIMEOUT_MS = 60_000;

export interface StartsParts {
  readonly options: ServeOptions;
  readonly isolation: Isolation;
  readonly rendezvous: Rendezvous;
  readonly listeners: Listeners;
  readonly children: Children;
  readonly pin: PinWatch;
  /** Answers what a vault asks. */
  answer(message: FromVault): Promise<{ header: unknown }>;
}

/** Starts one process of each kind: its provision, and its channel to the vault. */
export class Starts {
  readonly #parts: StartsParts;
  readonly #ready = new Map<string, () => void>();

  constructor(parts: StartsParts) {
    this.#parts = parts;
  }

  /** A vault that has what it needs, and its channel. `born`: it runs, and is given that now. `onGone`: it has ended. */
  async vault(born: (vault: Channel) => void, onGone: (vault: Channel) => void): Promise<Channel> {
    const { options, isolation, rendezvous, listeners, children } = this.#parts;
    const previous = await previousJournal(join(options.data, 'journal'));
    const journal = children.journal('vault');
    const { dialled, accepted } = await rendezvous.join(() =>
      Channel.connect(rendezvous.path, (header) => this.#parts.answer(FromVault.parse(header))),
    );
    await children.start('vault', journal.name, {
      ...vaultProvision(options, journal.file),
      channel: accepted,
      onGone: () => onGone(dialled),
    });
    born(dialled);
    const files = secretFiles(options);
    const start = vaultStart(options, isolation, listeners, previous, files);
    await withSecrets(
      files.map(({ file }) => file),
      (secrets) => dialled.request(start, secrets, () => undefined, VAULT_START_TIMEOUT_MS),
    );
    return dialled;
  }

  /** `onGone` is told how long it lived, in ms. */
  async keyholder(vault: Channel, slot: number, onGone: (livedMs: number) => void): Promise<void> {
    const { options, children, pin } = this.#parts;
    const name = children.name(`keyholder-${slot}`);
    const accepted = await this.#dialled(vault, 'keyholder', name, null);
    await children.start('keyholder', name, {
      ...keyholderProvision(options, pin.give(name)),
      channel: accepted,
      onGone: (lived) => {
        pin.forget(name);
        onGone(lived);
      },
    });
  }

  /** The same; resolves once the worker serves. Throws internal where it ends before. */
  async worker(vault: Channel, slot: number, onGone: (livedMs: number) => void): Promise<void> {
    const { options, children } = this.#parts;
    const journal = children.journal(`worker-${slot}`);
    const accepted = await this.#dialled(vault, 'worker', journal.name, journal.file);
    const ready = new Promise<void>((resolve) => this.#ready.set(journal.name, resolve));
    const child = await children.start('worker', journal.name, {
      ...workerProvision(options, journal.file),
      channel: accepted,
      onGone,
    });
    const died = child.gone.then(() => {
      throw new SallyportError(
        'internal',
        `The process ${journal.name} ended before it was ready: see the lines above.`,
      );
    });
    await Promise.race([ready, died]);
  }

  /** The vault says that this worker serves. */
  workerReady(name: string): void {
    this.#ready.get(name)?.();
    this.#ready.delete(name);
  }

  /** For one exchange: it ends with its channel, and none is started in its place. Answers its name. */
  async exchanger(vault: Channel): Promise<string> {
    const { children } = this.#parts;
    const name = children.name('exchanger');
    const accepted = await this.#dialled(vault, 'exchanger', name, null);
    await children.start('exchanger', name, {
      ...EXCHANGER_PROVISION,
      channel: accepted,
      onGone: () => {},
    });
    return name;
  }

  /** Has the vault dial the rendezvous for the named child; resolves with the socket to hand to that child. */
  async #dialled(vault: Channel, kind: Exclude<ChildKind, 'vault'>, name: string, journal: string | null) {
    const request: ToVault = { type: 'connect', kind, name, journal };
    const { accepted } = await this.#parts.rendezvous.join(() =>
      vault.request(request, [], () => undefined, VAULT_START_TIMEOUT_MS),
    );
    return accepted;
  }
}
