import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** A tool that the benchmarks need is missing: the message says which, and how to get it. */
export class MissingTool extends Error {}

const INSTALL =
  'run scripts/setup --test, or on Debian: apt-get install nginx-light gcc libc6-dev libssl-dev openssl';

/** The path of `program`, looked for where an administrator's programs lie, too. */
export function find(program: string): string {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  const found = folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
  if (found === undefined)
    throw new MissingTool(`The benchmark needs ${program}, which is not installed: ${INSTALL}.`);
  return found;
}

/** Builds the load generator where it is older than its source, and gives its path. */
export function buildLoad(): string {
  const source = join(import.meta.dirname, 'load.c');
  const folder = join(import.meta.dirname, 'build');
  const program = join(folder, 'load');
  if (existsSync(program) && statSync(program).mtimeMs > statSync(source).mtimeMs) return program;
  const compiler = find('cc');
  const headers = spawnSync(compiler, ['-E', '-x', 'c', '-'], {
    input: '#include <openssl/ssl.h>\n',
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  if (headers.status !== 0)
    throw new MissingTool(`The benchmark needs OpenSSL's headers, which are not installed: ${INSTALL}.`);
  mkdirSync(folder, { recursive: true });
  execFileSync(compiler, ['-O2', '-o', program, source, '-lssl', '-lcrypto'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return program;
}
