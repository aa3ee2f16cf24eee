import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Kept from one run to the next; `npm ci` removes it. */
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/sallyport-clients', import.meta.url));
const GO = fileURLToPath(new URL('../e2e/clients/client.go', import.meta.url));
const PYTHON = ['requests', 'httpx', 'aiohttp'];
const PATIENCE_MS = 90_000;

/** What a client is run with, or why it cannot be. */
export type Tool = { readonly path: string } | { readonly missing: string };

/** Whether a program is there that answers `args`. */
export function installed(program: string, args: readonly string[] = ['--version']): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

/** A Python with requests, httpx and aiohttp, in a virtual environment. */
export function python(): Tool {
  const path = join(CACHE, 'python', 'bin', 'python');
  return made('requests, httpx and aiohttp', path, isReady, () => {
    run('python3', ['-m', 'venv', '--clear', join(CACHE, 'python')]);
    run(path, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PYTHON]);
  });
}

function isReady(path: string): boolean {
  return existsSync(path) && installed(path, ['-c', `import ${PYTHON.join()}`]);
}

/** The client in Go, built. */
export function goClient(): Tool {
  const digest = createHash('sha256').update(readFileSync(GO)).digest('hex').slice(0, 16);
  const path = join(CACHE, `go-${digest}`);
  return made('Go', path, existsSync, () => run('go', ['build', '-o', path, GO]));
}

function made(what: string, path: string, isThere: (path: string) => boolean, make: () => void): Tool {
  if (isThere(path)) return { path };
  try {
    mkdirSync(CACHE, { recursive: true });
    make();
    return { path };
  } catch (error) {
    const [line = ''] = String(error).split('\n');
    return { missing: `${what} cannot be had here (${line})` };
  }
}

function run(program: string, args: readonly string[]): void {
  execFileSync(program, args, { stdio: 'ignore', timeout: PATIENCE_MS });
}

/** `scripts/setup --test` calls it, so that tests need not wait for it. */
if (import.meta.main) {
  for (const tool of [python(), goClient()]) {
    if ('missing' in tool) process.stderr.write(`${tool.missing}: its tests are skipped\n`);
  }
}
