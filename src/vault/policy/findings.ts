import { SallyportError } from '../../errors.ts';
import type { AgentsTable } from '../../store/schema.ts';
import { describeFailures, type Failure } from '../integrity/verify.ts';

/** What is wrong with the store: found when it was read, or later, where somebody else had touched it. */
export class Findings {
  #found: readonly Failure[] = [];
  /** The same by row: there can be as many as rows. */
  #byRow: ReadonlyMap<string, Failure> = new Map();
  /** The one among them that says that the state as a whole is not the anchored one. */
  #strayed: Failure | undefined;
  #compared: readonly Failure[] = [];
  #suspectAgents: readonly AgentsTable[] = [];

  /** Takes what authenticating the store has shown: rows that failed, and the state as a whole where that did. */
  found(rows: readonly Failure[], strayed: Failure | undefined, suspectAgents: readonly AgentsTable[]): void {
    this.#strayed = strayed;
    this.#found = [...rows, ...(strayed ? [strayed] : [])];
    this.#byRow = new Map(this.#found.map((failure) => [nameOf(failure.table, failure.id), failure]));
    this.#suspectAgents = suspectAgents;
  }

  /** Takes what comparing the store with memory has shown. True where that is news. */
  compared(failures: readonly Failure[]): boolean {
    const before = describeFailures(this.#compared);
    this.#compared = failures;
    return describeFailures(failures) !== before;
  }

  /** The state that was found is the right one from now on. */
  accepted(): void {
    this.#strayed = undefined;
    this.#found = [];
    this.#byRow = new Map();
  }

  get all(): readonly Failure[] {
    return [...this.#found, ...this.#compared];
  }

  /** Whether the state as a whole strayed, and nothing else is wrong; throws integrity_failed where something else is. */
  get strayedOnly(): boolean {
    if (this.#compared.length > 0 || this.#found.some((failure) => failure !== this.#strayed))
      this.requireSound();
    return this.#strayed !== undefined;
  }

  /** Set where more is wrong than single sealed values: nothing is trusted then. One sentence. */
  get integrity(): string | null {
    const confined = this.#found.every(({ table }) => table === 'credential_versions');
    return confined && this.#compared.length === 0 ? null : describeFailures(this.all);
  }

  /** Agents whose rows failed, so that they can be refused by name. */
  get suspectAgents(): readonly AgentsTable[] {
    return this.#suspectAgents;
  }

  /** What is wrong with a row that is not served because it failed; undefined where nothing is known of it. */
  failureOf(table: Failure['table'], id: string): Failure | undefined {
    return this.#byRow.get(nameOf(table, id));
  }

  /** Throws integrity_failed where anything in the store is not what the vault wrote. */
  requireSound(): void {
    const failures = this.all;
    if (failures.length > 0) throw new SallyportError('integrity_failed', describeFailures(failures));
  }
}

function nameOf(table: Failure['table'], id: string): string {
  return `${table}/${id}`;
}
