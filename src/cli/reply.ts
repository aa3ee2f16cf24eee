import { SallyportError } from '../errors.ts';

/**
 * Reads what the vault's control API answers. By hand: a schema library takes longer to load than everything else that
 * a short command does. Each throws `internal` where the answer is not of that shape.
 */

export function textOf(from: unknown, key: string): string {
  const value = partOf(from, key);
  return typeof value === 'string' ? value : unexpected(key);
}

export function numberOf(from: unknown, key: string): number {
  const value = partOf(from, key);
  return typeof value === 'number' ? value : unexpected(key);
}

/** False where the key is absent. */
export function flagOf(from: unknown, key: string): boolean {
  return partOf(from, key) === true;
}

export function textsOf(from: unknown, key: string): string[] {
  return itemsOf(partOf(from, key), key).map((item) => (typeof item === 'string' ? item : unexpected(key)));
}

/** The items of a list; `what` names it where it is none. */
export function itemsOf(from: unknown, what: string): readonly unknown[] {
  return Array.isArray(from) ? from : unexpected(what);
}

/** Undefined where `from` is no object or has no such key. */
export function partOf(from: unknown, key: string): unknown {
  if (typeof from !== 'object' || from === null) return undefined;
  return Object.entries(from).find(([name]) => name === key)?.[1];
}

function unexpected(key: string): never {
  throw new SallyportError(
    'internal',
    `The answer has no proper "${key}": are the command line and the running vault of one version?`,
  );
}
