import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { PIN_ENTRY, type TokenFile } from '../backup/seal-token.ts';
import { SallyportError } from '../errors.ts';

const TRIES = 20;

/**
 * The files of SoftHSM's token folder. The keyholder may be writing there (the anchor, at each change): two readings
 * in a row must agree. Throws hsm_unavailable.
 */
export async function readTokenFolder(folder: string): Promise<TokenFile[]> {
  let before = '';
  for (let tried = 0; tried < TRIES; tried++) {
    const files = readOnce(folder);
    const sum = createHash('sha256');
    for (const { name, bytes } of files) sum.update(`${name}\0${bytes.length}\0`).update(bytes);
    const now = sum.digest('hex');
    if (files.length > 0 && now === before) return files;
    for (const { bytes } of files) bytes.fill(0);
    before = now;
    await delay(50);
  }
  throw new SallyportError('hsm_unavailable', 'The token changes all the time: try again when less goes on.');
}

function readOnce(folder: string): TokenFile[] {
  const files: TokenFile[] = [];
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
    const info = lstatSync(join(folder, name), { throwIfNoEntry: false });
    if (!info?.isFile()) continue;
    try {
      files.push({ name, bytes: readFileSync(join(folder, name)) });
    } catch (error) {
      // An old anchor that was destroyed just now: the next reading will not see it.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
  }
  return files;
}

/** Writes what `readTokenFolder` read, the PIN left out, into an empty folder: for its owner alone. */
export function writeTokenFolder(folder: string, files: readonly TokenFile[]): void {
  for (const { name, bytes } of files) {
    if (name === PIN_ENTRY) continue;
    mkdirSync(join(folder, dirname(name)), { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, name), bytes, { mode: 0o600, flag: 'wx', flush: true });
  }
}
