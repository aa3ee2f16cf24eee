import { checkpointMessage, type Head } from '../../audit/chain.ts';
import type { JournalWriter } from '../../audit/journal.ts';
import type { VaultRecord } from '../../audit/record.ts';
import { timestamp } from '../../audit/timestamp.ts';
import type { KeyholderClient } from '../keyholder.ts';

/** Where a journal ends. */
type JournalEnd = Head & { readonly file: string };

/** What a worker makes us write down is cut to this: it could be hostile. */
const TEXT_MAX = 300;

/** The vault's own journal: administration, releases, refusals, alarms, workers' heads and signed checkpoints. */
export class Ledger {
  readonly #journal: JournalWriter;
  readonly #keyholder: KeyholderClient;
  #checkpointed: number | undefined;
  /** Where the journal of the vault before this one ends, until that is written down. */
  #previous: JournalEnd | null;

  constructor(journal: JournalWriter, keyholder: KeyholderClient, previous: JournalEnd | null) {
    this.#journal = journal;
    this.#keyholder = keyholder;
    this.#previous = previous;
  }

  /** Writes down where the last journal ends, before anything else; nothing where that is done. Rejects with journal_unavailable. */
  async begin(): Promise<void> {
    this.#start();
    await this.#journal.flushed();
  }

  #start(): void {
    if (!this.#previous) return;
    const { file, link, hash } = this.#previous;
    this.#previous = null;
    this.#journal.append({ type: 'head', time: timestamp(), file, link, hash });
  }

  /** Writes a record; resolves once it is in the file. Rejects with journal_unavailable. */
  async record(
    type: VaultRecord['type'],
    action: string,
    subject: string,
    detail: VaultRecord['detail'] = {},
  ): Promise<void> {
    const short: VaultRecord['detail'] = {};
    for (const [key, value] of Object.entries(detail))
      short[key] = typeof value === 'string' ? cut(value) : value;
    this.#start();
    this.#journal.append({ type, time: timestamp(), action, subject: cut(subject), detail: short });
    await this.#journal.flushed();
  }

  /** Writes down the newest link of another journal. Resolves once it is in the file. */
  async head(file: string, { link, hash }: Head): Promise<void> {
    this.#start();
    this.#journal.append({ type: 'head', time: timestamp(), file, link, hash });
    await this.#journal.flushed();
  }

  /** Signs the chain so far where it has grown since the last checkpoint. Throws hsm_unavailable, journal_unavailable. */
  async checkpoint(): Promise<void> {
    const head = this.#journal.head;
    if (head.link === 0 || head.link === this.#checkpointed) return;
    const signature = await this.#keyholder.sign(checkpointMessage(this.#journal.fileName, head));
    this.#journal.append({
      type: 'checkpoint',
      time: timestamp(),
      ...head,
      signature: signature.toString('hex'),
    });
    await this.#journal.flushed();
    this.#checkpointed = this.#journal.head.link; // the checkpoint's own link alone is no reason for another
  }
}

function cut(text: string): string {
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
}
