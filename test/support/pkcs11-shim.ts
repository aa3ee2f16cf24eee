import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { softHsmModule } from './softhsm.ts';

const SOURCES = fileURLToPath(new URL('./pkcs11-shim/', import.meta.url));
const HEADERS = fileURLToPath(new URL('../../node_modules/pkcs11js/includes/pkcs11', import.meta.url));

/** A PKCS#11 module around SoftHSM's that does as it is told: pkcs11-shim/shim.c lists the directives. */
export interface Shim {
  /** Path of the module. */
  readonly module: string;
  /** Says what it does from its next call on, in whatever process; nothing: what SoftHSM does. */
  control(...directives: readonly string[]): void;
  /** Names of the functions called since this was called last. */
  calls(): string[];
  remove(): void;
}

export function makeShim(): Shim {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-shim-'));
  chmodSync(folder, 0o755); // a keyholder of another user must load it
  const module = join(folder, 'shim.so');
  copyFileSync(build(), module);
  symlinkSync(softHsmModule(), join(folder, 'real.so'));
  const control = join(folder, 'control');
  const calls = join(folder, 'calls');
  writeFileSync(control, '');
  writeFileSync(calls, '');
  chmodSync(calls, 0o666);
  return {
    module,
    control: (...directives) => {
      writeFileSync(`${control}.new`, `${directives.join('\n')}\n`);
      renameSync(`${control}.new`, control);
    },
    calls: () => {
      const names = readFileSync(calls, 'utf8').split('\n').filter(Boolean);
      writeFileSync(calls, '');
      return names;
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Builds the shim, once for each state of its sources on this machine. */
function build(): string {
  const sources = readdirSync(SOURCES).sort();
  const hash = createHash('sha256').update(process.arch);
  for (const name of sources) hash.update(readFileSync(join(SOURCES, name)));
  const built = join(tmpdir(), `sallyport-shim-${hash.digest('hex').slice(0, 16)}.so`);
  if (existsSync(built)) return built;
  const files = sources.filter((name) => name.endsWith('.c')).map((name) => join(SOURCES, name));
  const making = `${built}.${process.pid}`;
  const flags = ['-std=gnu11', '-O1', '-shared', '-fPIC', '-fvisibility=hidden', '-I', HEADERS];
  const { status, stderr, error } = spawnSync('cc', [...flags, '-o', making, ...files, '-ldl'], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`The shim cannot be built: a C compiler is needed (${error ?? stderr}).`);
  renameSync(making, built);
  return built;
}
