import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { SallyportError } from '../errors.ts';

/** What every command is told: where the data folder is, and whether a program reads the output. */
export interface Context {
  /** Absolute path. */
  readonly data: string;
  readonly json: boolean;
}

export function contextOf(command: Command): Context {
  const options = command.optsWithGlobals();
  return { data: resolve(dataFolder(options.data)), json: options.json === true };
}

/** Throws `data_folder_missing` unless `init` has made the folder. */
export function requireDataFolder(context: Context): void {
  if (existsSync(join(context.data, 'sallyport.json'))) return;
  throw new SallyportError(
    'data_folder_missing',
    `There is no Sallyport data folder at ${context.data}: run "sallyport init", or name another with --data.`,
  );
}

/** `--data`, else SALLYPORT_DATA, else /var/lib/sallyport for root, else the user's own data directory. */
function dataFolder(given: unknown): string {
  if (typeof given === 'string' && given !== '') return given;
  const fromEnvironment = process.env.SALLYPORT_DATA;
  if (fromEnvironment !== undefined && fromEnvironment !== '') return fromEnvironment;
  if (process.getuid?.() === 0) return '/var/lib/sallyport';
  return join(process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'sallyport');
}
