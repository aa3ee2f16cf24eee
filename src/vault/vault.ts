import type { FastifyInstance } from 'fastify';
import type { JournalWriter } from '../audit/journal.ts';
import { Channel } from '../channel/channel.ts';
import { SallyportError } from '../errors.ts';
import { openWritable } from '../store/open.ts';
import { listen } from './api/listen.ts';
import { checkGivenCertificate } from './authorities/given-certificate.ts';
import { assemble, type Given, type Parts } from './parts.ts';
import { Readiness } from './readiness.ts';
import { vaultStatus } from './status.ts';
import type { SupervisorClient } from './supervisor.ts';

const WATCH_EVERY_MS = 200;
/** How long a replaced value may still stand, sealed, in the store's log. */
const TIDY_EVERY_MS = 2_000;
const CHECKPOINT_EVERY_MS = 60_000;
/** Less than the supervisor waits; more than a worker takes to finish what it does. */
const DRAIN_MS = 9_000;

/** What happens to the vault's parts from outside and by the clock. */
export class Vault {
  readonly #parts: Parts;
  readonly #timers: NodeJS.Timeout[];
  #servers: FastifyInstance[] = [];

  private constructor(parts: Parts) {
    const { keyholder, loading, complaints, ledger, changes } = parts;
    this.#parts = parts;
    keyholder.onReady = () => loading.load();
    this.#timers = [
      setInterval(() => loading.watch(), WATCH_EVERY_MS),
      setInterval(() => complaints.attempt(ledger.checkpoint()), CHECKPOINT_EVERY_MS),
      setInterval(() => changes.tidy(), TIDY_EVERY_MS),
    ];
  }

  /**
   * Opens the store. `secrets`: what `start.secrets` names, which are this vault's from now on. Throws
   * store_unavailable, store_version, journal_unavailable, invalid_settings.
   */
  static async open(
    start: Given['start'],
    version: string,
    journal: JournalWriter,
    supervisor: SupervisorClient,
    secrets: readonly Buffer[],
  ): Promise<Vault> {
    const certificate = start.worker.tlsListen?.certificate ?? null;
    const key = secrets[start.secrets.indexOf('tlsKey')];
    if (certificate !== null && key) checkGivenCertificate(certificate, key);
    const store = await openWritable(start.database);
    return new Vault(assemble({ start, version, store, journal, supervisor, secrets }));
  }

  /** Dials the supervisor's rendezvous for a process that it is about to start. */
  async connect(
    kind: 'keyholder' | 'worker' | 'exchanger',
    name: string,
    journal: string | null,
  ): Promise<void> {
    const { start, desk, fleet, exchangers, keyholder, complaints } = this.#parts;
    if (kind === 'worker') {
      const file = journal ?? '';
      const channel = await Channel.connect(start.rendezvous, desk.serve(name, file));
      fleet.add(name, file, channel);
      return;
    }
    const channel = await Channel.connect(start.rendezvous, () => {
      throw new SallyportError('channel_malformed', `The ${kind} asks nothing of the vault.`);
    });
    if (kind === 'exchanger') return exchangers.connected(name, channel);
    complaints.attempt(keyholder.connect(name, channel));
  }

  /** Rejects with what the keyholder connected last lacks. */
  keyholderOpened(): Promise<void> {
    return this.#parts.keyholder.opened();
  }

  /** Resolves once the policy is authenticated, and in force in every worker that is there. */
  policyServed(): Promise<void> {
    return this.#parts.loading.done;
  }

  /** The process of that name is gone. */
  gone(name: string): void {
    this.#parts.fleet.remove(name);
    this.#parts.exchangers.gone(name);
  }

  /** Listens for changes. Not before: workers of an earlier vault would not learn of them. Throws address_in_use. */
  async listen(): Promise<void> {
    if (this.#servers.length > 0) return;
    const status = () => vaultStatus(this.#parts);
    const readiness = new Readiness(this.#parts);
    this.#servers = await listen({ ...this.#parts, readiness, status }, this.#parts.start);
    this.#parts.alarms.open();
  }

  /** Ends in order: no more changes, workers finish, the journal is signed, the store closed. */
  async drain(withinMs = DRAIN_MS): Promise<void> {
    const { fleet, ledger, complaints, store, alarms } = this.#parts;
    alarms.end();
    for (const timer of this.#timers) clearInterval(timer);
    await Promise.all(this.#servers.map((server) => server.close()));
    await fleet.drain(withinMs);
    await ledger.checkpoint().catch((error: unknown) => complaints.report(error));
    store.close();
  }
}
