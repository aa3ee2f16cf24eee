import { createHash } from 'node:crypto';
import { closeSync, createReadStream, openSync, readSync, rmSync } from 'node:fs';
import { Readable } from 'node:stream';
import { sql } from 'kysely';
import { type BackupPart, encodeHead, type Manifest, signedHead } from '../../backup/format.ts';
import { type Store, unavailable } from '../../store/open.ts';
import type { Ledger } from '../audit/ledger.ts';
import type { Changes } from '../changes.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Policy } from '../policy/policy.ts';

const CHUNK = 1024 * 1024;

/** What only whoever asks for a backup knows. */
export interface BackupInput {
  /** `sallyport.json`, as text. */
  readonly installation: string;
  /** The sealed token that will follow; null: none. */
  readonly token: BackupPart | null;
}

/** Makes backups: a snapshot of the store at one moment, signed by the HSM's audit key. */
export class Backups {
  readonly #store: Store;
  readonly #policy: Policy;
  readonly #changes: Changes;
  readonly #ledger: Ledger;
  readonly #keyholder: KeyholderClient;
  readonly #version: string;

  constructor(
    store: Store,
    policy: Policy,
    changes: Changes,
    ledger: Ledger,
    keyholder: KeyholderClient,
    version: string,
  ) {
    this.#store = store;
    this.#policy = policy;
    this.#changes = changes;
    this.#ledger = ledger;
    this.#keyholder = keyholder;
    this.#version = version;
  }

  /**
   * The backup's head and database; the sealed token follows, from whoever has it. Changes wait for the snapshot, not
   * for the stream. Throws integrity_failed, hsm_unavailable, store_unavailable, journal_unavailable.
   */
  create(input: BackupInput): Promise<Readable> {
    return this.#changes.exclusive(async () => {
      this.#policy.requireSound();
      const descriptor = await this.#snapshot();
      try {
        const manifest = this.#describe(input, partOf(descriptor));
        const signed = signedHead(manifest);
        const head = encodeHead(signed, await this.#keyholder.sign(signed));
        const { bytes, sha256 } = manifest.database;
        await this.#ledger.record('admin', 'backup.create', sha256, { bytes, token: input.token !== null });
        const database = createReadStream('', { fd: descriptor, start: 0 }); // closes it at its end
        return Readable.from(chain(head, database));
      } catch (error) {
        closeSync(descriptor);
        throw error;
      }
    });
  }

  /** An open file that holds a copy of the store and has no name any more. */
  async #snapshot(): Promise<number> {
    const file = `${this.#store.path}.backup`;
    rmSync(file, { force: true }); // of a vault that was killed while it made one
    try {
      await sql`VACUUM INTO ${file}`.execute(this.#store.db);
      return openSync(file, 'r');
    } catch (cause) {
      throw unavailable(file, cause);
    } finally {
      rmSync(file, { force: true });
    }
  }

  #describe({ installation, token }: BackupInput, database: BackupPart): Manifest {
    const { state, head } = this.#policy;
    return {
      format: 1,
      created: new Date().toISOString(),
      version: this.#version,
      state: head,
      holds: {
        agents: state.agents().length,
        credentials: state.credentials().length,
        grants: state.grants().length,
      },
      auditPublicKey: this.#keyholder.auditPublicKey(),
      installation,
      database,
      token,
    };
  }
}

async function* chain(head: Buffer, rest: AsyncIterable<unknown>): AsyncGenerator<unknown> {
  yield head;
  yield* rest;
}

function partOf(descriptor: number): BackupPart {
  const sum = createHash('sha256');
  const chunk = Buffer.allocUnsafe(CHUNK);
  let bytes = 0;
  for (;;) {
    const read = readSync(descriptor, chunk, 0, CHUNK, bytes);
    if (read === 0) return { bytes, sha256: sum.digest('hex') };
    sum.update(chunk.subarray(0, read));
    bytes += read;
  }
}
