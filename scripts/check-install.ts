import { readFileSync } from 'node:fs';

/**
 * Says whether node_modules holds what package-lock.json asks for, and whether its native parts load in this Node (the
 * bundled one, on which scripts/setup runs this). Prints what is wrong and exits with 1: then it is installed again.
 */
const ROOT = new URL('../', import.meta.url);

try {
  compareLocks();
  const { default: SQLite } = await import('better-sqlite3');
  new SQLite(':memory:').close(); // its binary is loaded at the first use
  await import('pkcs11js');
  await import('sodium-native');
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message.split('\n')[0] : error}\n`);
  process.exitCode = 1;
}

/** npm writes what it installed into node_modules/.package-lock.json, in the form of package-lock.json. */
function compareLocks(): void {
  const installed = packages('node_modules/.package-lock.json');
  for (const [place, entry] of Object.entries(packages('package-lock.json'))) {
    const there = installed[place];
    if (place === '' || (entry.optional && !there)) continue;
    if (there?.version !== entry.version || there?.integrity !== entry.integrity) {
      throw new Error(`${place} is not installed as package-lock.json says.`);
    }
  }
}

type Packages = Record<string, { version?: string; integrity?: string; optional?: boolean }>;

function packages(file: string): Packages {
  const lock: { packages: Packages } = JSON.parse(readFileSync(new URL(file, ROOT), 'utf8'));
  return lock.packages;
}
