import type { KeyObject } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { ChainCheck } from './chain-check.ts';
import { Checkpoints, readAuditKey } from './checkpoints.ts';
import { type JournalFile, listJournals } from './files.ts';
import { type FindingKind, Findings, type Verification } from './findings.ts';
import type { HeadRecord } from './record.ts';

/** Batches between two turns of the event loop. */
const STRIDE = 256;

/**
 * Verifies every journal in `folder`: each file's chain, the workers' chains against the heads in the vault's journals,
 * and the vault's chains against their checkpoints, whose signatures need `auditPublicKey` (uncompressed P-256 point,
 * 65 bytes). May be run while the journals are being written. See findings.ts for what is found; not found is the loss
 * of a worker's last 100 ms (links that no head tells of) and of the vault's links after its last checkpoint.
 * Throws invalid_argument for a key that is none, and the system's errors.
 */
export async function verifyJournals(
  folder: string,
  options: { readonly auditPublicKey?: Buffer } = {},
): Promise<Verification> {
  const key = options.auditPublicKey && readAuditKey(options.auditPublicKey);
  return await new JournalsCheck(folder, await listJournals(folder)).run(key);
}

/**
 * Walks the vault's journals and takes each worker's journal along, as far as the head at hand says it went. So
 * every head is compared in one pass, and a head is always read before the file that it speaks of.
 */
class JournalsCheck {
  readonly #folder: string;
  readonly #findings = new Findings();
  readonly #checks = new Map<string, ChainCheck>();
  /** By file: the newest link that the vault has recorded; those that have already been found wrong. */
  readonly #heads = new Map<string, number>();
  readonly #wrong = new Set<string>();
  readonly #walked = new Set<string>();

  constructor(folder: string, files: readonly JournalFile[]) {
    this.#folder = folder;
    for (const file of files) this.#checks.set(file.fileName, new ChainCheck(folder, file, this.#findings));
  }

  async run(key: KeyObject | undefined): Promise<Verification> {
    const signed = new Map<string, number>();
    for (const check of [...this.#checks.values()]) {
      if (check.file.vault) signed.set(check.file.fileName, await this.#walkVault(check, key));
    }
    let records = 0;
    for (const check of this.#checks.values()) {
      await advance(check, Number.POSITIVE_INFINITY);
      check.end();
      records += check.records;
      this.#noteCover(check, signed.get(check.file.fileName) ?? 0);
    }
    const { problems, notes } = this.#findings;
    return { files: this.#checks.size, records, problems, notes };
  }

  /** Checks one of the vault's journals and all that its heads speak of; gives the newest signed link. */
  async #walkVault(check: ChainCheck, key: KeyObject | undefined): Promise<number> {
    const { fileName } = check.file;
    const checkpoints = new Checkpoints(fileName, key);
    for (let count = 1; ; count++) {
      const batch = check.next();
      if (!batch) break;
      for (const { record, line } of batch) {
        if (record.type === 'head') await this.#compare(record, `${fileName}, line ${line}`);
        if (record.type !== 'checkpoint') continue;
        const wrong = checkpoints.check(record);
        if (wrong !== undefined) this.#findings.add(fileName, line, 'unsigned', wrong);
      }
      checkpoints.passed(check.head);
      if (count % STRIDE === 0) await setImmediate();
    }
    this.#walked.add(fileName);
    return checkpoints.signedLink;
  }

  /** Compares a head, recorded at `where` in the vault's journals, with the file that it speaks of. */
  async #compare(head: HeadRecord, where: string): Promise<void> {
    const { file, link } = head;
    if (this.#wrong.has(file)) return;
    const recorded = `the vault recorded link ${link} (${where})`;
    const check = this.#checks.get(file) ?? (await this.#lookAgain(file));
    if (!check) {
      this.#isWrong(file, 0, 'missing', `The file is gone, but ${recorded}.`);
      return;
    }
    if (!check.file.vault) await advance(check, link);
    else if (!this.#walked.has(file)) return; // no vault can tell of its own file, or of a later one
    const known = this.#heads.get(file) ?? 0;
    this.#heads.set(file, link);
    if (link < known || (check.file.vault && link < check.head.link)) {
      const last = Math.max(known, check.head.link);
      this.#isWrong(
        file,
        check.line,
        'rewritten',
        `The file has link ${last}, but later ${recorded}: it was begun anew.`,
      );
    } else if (check.head.link < link) {
      this.#isWrong(
        file,
        check.line,
        'truncated',
        `The file ends with link ${check.head.link}, but ${recorded}: its end was cut off.`,
      );
    } else if (check.head.link === link && check.head.hash !== head.hash) {
      this.#isWrong(
        file,
        check.line,
        'rewritten',
        `Link ${link} is another one than ${recorded}: lines before it, after link ${known}, were written anew.`,
      );
    }
  }

  /** A journal that was begun after the folder was listed. */
  async #lookAgain(fileName: string): Promise<ChainCheck | undefined> {
    const file = (await listJournals(this.#folder)).find((journal) => journal.fileName === fileName);
    if (!file || file.vault) return undefined;
    const check = new ChainCheck(this.#folder, file, this.#findings);
    this.#checks.set(fileName, check);
    return check;
  }

  #isWrong(file: string, line: number, kind: FindingKind, message: string): void {
    this.#wrong.add(file);
    this.#findings.add(file, line, kind, message);
  }

  /** Notes what of a file neither a head nor a signature covers. */
  #noteCover(check: ChainCheck, signed: number): void {
    const { fileName, vault } = check.file;
    const recorded = this.#heads.get(fileName);
    const { link } = check.head;
    if (vault && link > Math.max(signed, recorded ?? 0)) {
      const from = signed === 0 ? 'No link' : `No link after ${signed}`;
      this.#findings.add(
        fileName,
        0,
        'uncovered',
        `${from} (of ${link}) is covered by a checkpoint whose signature was verified: there, the chain alone speaks.`,
      );
    }
    if (!vault && link > 0 && recorded === undefined) {
      this.#findings.add(
        fileName,
        0,
        'unvouched',
        `The vault's journals do not know this file: its chain alone speaks for its ${link} links.`,
      );
    }
  }
}

/** Reads a journal on until its newest link is `link`, or to its end. */
async function advance(check: ChainCheck, link: number): Promise<void> {
  for (let count = 1; check.head.link < link && check.next(); count++) {
    if (count % STRIDE === 0) await setImmediate();
  }
}
