import { closeSync, openSync } from 'node:fs';

/** Runs `use` with `path` opened for reading, as the keyholder gets its PIN. */
export function withDescriptor<T>(path: string, use: (fd: number) => T): T {
  const fd = openSync(path, 'r');
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}
