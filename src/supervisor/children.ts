import { statSync, unlinkSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { journalFileName } from '../audit/files.ts';
import type { ProcessStatus } from '../channel/messages/supervisor.ts';
import { type Child, type ChildPlan, journalPath, startChild } from './child.ts';
import type { ChildKind, Isolation } from './isolation/isolation.ts';

export const PROGRAM_FOLDER = fileURLToPath(new URL('../..', import.meta.url));
/** `.ts` in a checkout, `.js` where we were built. */
const EXTENSION = import.meta.filename.slice(import.meta.filename.lastIndexOf('.'));

/** A child to be started; `onGone` hears how long it lived, in milliseconds. */
export interface Birth extends Omit<ChildPlan, 'kind' | 'name' | 'entry' | 'programFolder'> {
  readonly onGone: (livedMs: number) => void;
}

/** The processes that the supervisor has started, by their names. */
export class Children {
  readonly #data: string;
  readonly #isolation: Isolation;
  /** Told of each that is gone. */
  readonly #onExit: (kind: ChildKind, name: string) => void;
  readonly #living = new Map<string, Child>();
  readonly #runs = new Map<string, number>();
  readonly #journals: string[] = [];

  constructor(data: string, isolation: Isolation, onExit: (kind: ChildKind, name: string) => void) {
    this.#data = data;
    this.#isolation = isolation;
    this.#onExit = onExit;
  }

  /** A name for the next run of `of`: "worker-1-3" is the third run in slot 1. */
  name(of: string): string {
    const run = (this.#runs.get(of) ?? 0) + 1;
    this.#runs.set(of, run);
    return `${of}-${run}`;
  }

  /** The same, and the file of its journal. */
  journal(of: string): { readonly name: string; readonly file: string } {
    const name = this.name(of);
    const file = journalFileName(new Date(), name);
    this.#journals.push(journalPath(this.#data, file));
    return { name, file };
  }

  /** Removes the journals that nothing was written into, after a start that failed. */
  removeEmptyJournals(): void {
    for (const path of this.#journals) {
      if (statSync(path, { throwIfNoEntry: false })?.size === 0) unlinkSync(path);
    }
  }

  /** All is up: journals from here on stay, whatever becomes of them. */
  settled(): void {
    this.#journals.length = 0;
  }

  /** Rejects with what open and spawn throw. */
  async start(kind: ChildKind, name: string, { onGone, ...birth }: Birth): Promise<Child> {
    const room = kind === 'worker' ? 'proxy' : kind;
    const source = dirname(dirname(relative(PROGRAM_FOLDER, import.meta.filename)));
    const plan = { ...birth, kind, name, entry: `${source}/${room}/main${EXTENSION}` };
    const child = await startChild({ ...plan, programFolder: PROGRAM_FOLDER }, this.#isolation);
    this.#living.set(name, child);
    void child.gone.then(() => {
      this.#living.delete(name);
      this.#onExit(kind, name);
      onGone(Date.now() - child.startedAt);
    });
    return child;
  }

  all(): Child[] {
    return [...this.#living.values()];
  }

  named(name: string): Child | undefined {
    return this.#living.get(name);
  }

  killAll(): void {
    for (const child of this.all()) child.signal('SIGKILL');
  }

  /** Resolves once all are gone, after `withinMs` at the latest. */
  async gone(withinMs: number): Promise<void> {
    const timeout = new Promise<void>((resolve) => setTimeout(resolve, withinMs).unref());
    await Promise.race([Promise.all(this.all().map((child) => child.gone)), timeout]);
  }

  /** For `status`. */
  processes(): ProcessStatus[] {
    const isolation = this.#isolation.name;
    const children = this.all().map(({ kind, name, pid, uid }) => ({ kind, name, pid, uid, isolation }));
    const uid = process.getuid?.() ?? -1;
    return [
      { kind: 'supervisor', name: 'supervisor', pid: process.pid, uid, isolation: 'none' },
      ...children,
    ];
  }
}
