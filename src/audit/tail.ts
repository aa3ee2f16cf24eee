import { statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { type JournalFile, listJournals } from './files.ts';
import { type Audited, type AuditedRequest, OutcomeJoin } from './outcomes.ts';
import { JournalReader, mergeByTime, type OnDamage } from './read.ts';

export interface TailOptions {
  /** How many of the newest requests; 'all': every one there is. */
  readonly last: number | 'all';
  /** Goes on with what is written from now on, until this signal aborts. */
  readonly follow?: AbortSignal;
  /** Called once for each journal in which a line is no record. */
  readonly onDamage: OnDamage;
}

const POLL_MS = 200;
/** How far back a journal is first read for its newest requests; four times as far where they are not enough. */
const FIRST_REACH = 64 * 1024;
/** A journal's file may look this much older than its newest record: the file system's clock is coarse. */
const CLOCK_SLACK_MS = 1000;

/** The requests in the workers' journals in `folder`, oldest first. Throws the system's errors. */
export async function* tailRequests(folder: string, options: TailOptions): AsyncGenerator<AuditedRequest> {
  const onDamage = once(options.onDamage);
  const { last, follow } = options;
  const readers = new Map<string, JournalReader>();
  const grown = (): Promise<Iterable<JournalReader>> => grow(readers, folder, workerJournals, onDamage);
  if (last === 'all') yield* requestsOf(await grown());
  else yield* newest(folder, last, onDamage, follow && readers);
  while (follow && !follow.aborted) {
    yield* requestsOf(await grown());
    await setTimeout(POLL_MS, undefined, { signal: follow }).catch(() => {}); // aborted: the loop's condition says so
  }
}

/**
 * The same for every request, and with the vault's own records between them: administration, releases, refusals, alarms.
 * Throws the system's errors.
 */
export async function* tailEverything(
  folder: string,
  { follow, ...options }: Omit<TailOptions, 'last'>,
): AsyncGenerator<Audited> {
  const readers = new Map<string, JournalReader>();
  const onDamage = once(options.onDamage);
  do {
    yield* entriesOf(await grow(readers, folder, listJournals, onDamage));
    if (follow) await setTimeout(POLL_MS, undefined, { signal: follow }).catch(() => {}); // aborted: as above
  } while (follow && !follow.aborted);
}

/** Readers of the journals that there are now, those from before among them. */
async function grow(
  readers: Map<string, JournalReader>,
  folder: string,
  list: (folder: string) => Promise<readonly JournalFile[]>,
  onDamage: OnDamage,
): Promise<Iterable<JournalReader>> {
  for (const file of await list(folder)) {
    if (!readers.has(file.fileName)) readers.set(file.fileName, new JournalReader(folder, file, onDamage));
  }
  return readers.values();
}

/** Tells of each journal once. */
function once(onDamage: OnDamage): OnDamage {
  const damaged = new Set<string>();
  return (file) => {
    if (!damaged.has(file.fileName)) onDamage(file);
    damaged.add(file.fileName);
  };
}

async function workerJournals(folder: string): Promise<JournalFile[]> {
  return (await listJournals(folder)).filter((file) => !file.vault);
}

/** Of workers' journals. */
async function* requestsOf(readers: Iterable<JournalReader>): AsyncGenerator<AuditedRequest> {
  for await (const entry of entriesOf(readers)) if (!('type' in entry)) yield entry;
}

async function* entriesOf(readers: Iterable<JournalReader>): AsyncGenerator<Audited> {
  const outcomes = new OutcomeJoin();
  for await (const { file, record } of mergeByTime(readers)) yield* outcomes.add(file.fileName, record);
  yield* outcomes.end();
}

/**
 * The `last` newest requests, from as few journals, and as little of each, as it takes. Given `readers`, it leaves
 * there one for every journal, at the end of what was read.
 */
async function* newest(
  folder: string,
  last: number,
  onDamage: OnDamage,
  readers: Map<string, JournalReader> | undefined,
): AsyncGenerator<AuditedRequest> {
  const files = (await workerJournals(folder)).map((file) => {
    const { mtimeMs, size } = statSync(join(folder, file.fileName));
    return { file, changed: new Date(mtimeMs + CLOCK_SLACK_MS).toISOString(), size };
  });
  files.sort((a, b) => (a.changed < b.changed ? 1 : -1));
  let requests: AuditedRequest[] = [];
  for (const { file, changed, size } of files) {
    const oldest = requests[0];
    const enough = requests.length >= last && (oldest === undefined || changed < oldest.time);
    if (enough && !readers) break;
    const end = await endOf(folder, file, size, enough ? 0 : last, onDamage);
    readers?.set(file.fileName, end.reader);
    if (enough) continue;
    requests = [...requests, ...end.requests].sort((a, b) =>
      a.time < b.time ? -1 : a.time > b.time ? 1 : 0,
    );
    requests = last === 0 ? [] : requests.slice(-last);
  }
  yield* requests;
}

/** At least the `count` newest requests of one journal, where it has them, and a reader that has read them. */
async function endOf(
  folder: string,
  file: JournalFile,
  size: number,
  count: number,
  onDamage: OnDamage,
): Promise<{ requests: AuditedRequest[]; reader: JournalReader }> {
  for (let reach = FIRST_REACH; ; reach *= 4) {
    const offset = Math.max(0, size - reach);
    const reader = new JournalReader(folder, file, onDamage, offset);
    const requests: AuditedRequest[] = [];
    for await (const request of requestsOf([reader])) requests.push(request);
    if (offset === 0 || (reader.aligned && requests.length >= count)) return { requests, reader };
  }
}
