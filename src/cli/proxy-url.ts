import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Context } from './context.ts';

/** Where a running `serve` listens, noted in the data folder for the other commands. */
export interface Listening {
  readonly proxy: string;
  /** Undefined where there is no listener with TLS. */
  readonly proxyTls?: string;
  readonly api: string;
}

const DEFAULT_PROXY = 'http://127.0.0.1:7080';

/** Notes where `serve` listens. Answers a function that removes the note. */
export function noteListening(data: string, listening: Listening): () => void {
  const file = noteFile(data);
  mkdirSync(join(data, 'run'), { recursive: true, mode: 0o700 });
  writeFileSync(`${file}.new`, JSON.stringify(listening), { mode: 0o600 });
  renameSync(`${file}.new`, file);
  return () => rmSync(file, { force: true });
}

/** The proxy's URL without any token: of the serve that runs or last ran without ending, else the default. */
export function proxyUrl(context: Context): string {
  try {
    const noted: unknown = JSON.parse(readFileSync(noteFile(context.data), 'utf8'));
    if (typeof noted === 'object' && noted !== null && 'proxy' in noted && typeof noted.proxy === 'string') {
      return noted.proxy;
    }
  } catch {
    // No serve has noted itself: what it would listen on unless told otherwise.
  }
  return DEFAULT_PROXY;
}

function noteFile(data: string): string {
  return join(data, 'run', 'listening.json');
}
