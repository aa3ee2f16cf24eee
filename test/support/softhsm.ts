import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Channel } from '../../src/channel/channel.ts';
import { KeyholderInfo } from '../../src/channel/messages/keyholder.ts';

/** Where distributions put SoftHSM's module. */
const MODULES = [
  '/usr/lib/softhsm/libsofthsm2.so',
  `/usr/lib/${{ x64: 'x86_64', arm64: 'aarch64' }[process.arch as string] ?? process.arch}-linux-gnu/softhsm/libsofthsm2.so`,
  '/usr/lib64/softhsm/libsofthsm.so',
  '/usr/lib64/libsofthsm2.so',
];
const CONFIGURATION = `directories.tokendir = /proc/self/fd/4/tokens
objectstore.backend = file
log.level = ERROR
slots.removable = false
`;
const PROVISION = fileURLToPath(new URL('../../src/keyholder/provision.ts', import.meta.url));
const MAIN = fileURLToPath(new URL('../../src/keyholder/main.ts', import.meta.url));

export function softHsmModule(): string {
  const found = MODULES.find((path) => existsSync(path));
  if (found === undefined) throw new Error(`SoftHSM is not installed: none of ${MODULES.join(', ')}`);
  return found;
}

/** A SoftHSM configuration, an empty token folder and a PIN file in a temporary folder of their own. */
export interface SoftHsm {
  readonly folder: string;
  /** Reached through descriptor 4, as in production: `/proc/self/fd/4/tokens`. */
  readonly tokens: string;
  readonly module: string;
  readonly label: string;
  readonly pin: string;
  readonly pinFile: string;
  remove(): void;
}

export function makeSoftHsm(label = 'sallyport-test'): SoftHsm {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-softhsm-'));
  const tokens = join(folder, 'tokens');
  mkdirSync(tokens, { mode: 0o700 });
  writeFileSync(join(folder, 'softhsm2.conf'), CONFIGURATION);
  const pin = randomBytes(16).toString('hex');
  const pinFile = join(folder, 'pin');
  writeFileSync(pinFile, `${pin}\n`, { mode: 0o400 });
  return {
    folder,
    tokens,
    module: softHsmModule(),
    label,
    pin,
    pinFile,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** What a started keyholder or provision is given; anything may be replaced to make it fail. */
export interface Overrides {
  readonly module?: string;
  readonly label?: string;
  readonly pinFile?: string;
  readonly args?: readonly string[];
}

/** The token that `init` has made in the data folder `data`. */
export function tokenOf(data: string, pinFile: string): SoftHsm {
  const folder = join(data, 'token');
  const pin = readFileSync(pinFile, 'latin1').trim();
  const tokens = join(folder, 'tokens');
  const remove = (): void => {}; // its folder is another's
  return { folder, tokens, module: softHsmModule(), label: 'sallyport', pin, pinFile, remove };
}

/** Runs the provisioning entry; by default it creates the token too. Returns its one JSON document. */
export function runProvision(
  hsm: SoftHsm,
  { module = hsm.module, label = hsm.label, pinFile = hsm.pinFile, args = ['--create'] }: Overrides = {},
): { status: number | null; output: unknown } {
  return withDescriptors(hsm, pinFile, (pin, folder) => {
    const { status, stdout } = spawnSync(
      process.execPath,
      [PROVISION, '--module', module, '--token', label, ...args],
      {
        stdio: [pin, 'pipe', 'inherit', 'ignore', folder],
        env: { SOFTHSM2_CONF: '/proc/self/fd/4/softhsm2.conf' },
        encoding: 'utf8',
      },
    );
    const output: unknown = JSON.parse(stdout);
    return { status, output };
  });
}

/** A token with all keys in it. */
export function makeToken(label?: string): { hsm: SoftHsm; info: KeyholderInfo } {
  const hsm = makeSoftHsm(label);
  return { hsm, info: KeyholderInfo.strip().parse(runProvision(hsm).output) };
}

/**
 * Lets this very process use the token: SoftHSM reads its configuration when its library starts. `settings`: further
 * lines of it.
 */
export function useHere(hsm: SoftHsm, settings = ''): void {
  const configuration = join(hsm.folder, 'here.conf');
  writeFileSync(configuration, `${CONFIGURATION.replace('/proc/self/fd/4/tokens', hsm.tokens)}${settings}`);
  process.env.SOFTHSM2_CONF = configuration;
}

export interface RunningKeyholder {
  /** The vault's end. */
  readonly channel: Channel;
  readonly process: ChildProcess;
  readonly pid: number;
  /** Closes the channel and waits for the process to end, which must be of itself. */
  stop(): Promise<number | null>;
}

/** Starts the keyholder as the supervisor does: PIN on 0, an accepted and unread socket on 3, the folder on 4. */
export async function startKeyholder(
  hsm: SoftHsm,
  { module = hsm.module, label = hsm.label, pinFile = hsm.pinFile, args = [] }: Overrides = {},
): Promise<RunningKeyholder> {
  const rendezvous = join(mkdtempSync(join(tmpdir(), 'sallyport-rendezvous-')), 'socket');
  const server = net.createServer({ pauseOnConnect: true }).listen(rendezvous);
  await once(server, 'listening');
  const accepting = once(server, 'connection');
  const channel = await Channel.connect(rendezvous, () => {
    throw new Error('the keyholder asks nothing');
  });
  const [accepted]: unknown[] = await accepting;
  server.close();
  rmSync(join(rendezvous, '..'), { recursive: true, force: true });
  if (!(accepted instanceof net.Socket)) throw new Error('no socket was accepted');
  const child = withDescriptors(hsm, pinFile, (pin, folder) =>
    spawn(process.execPath, ['--disable-sigusr1', MAIN, '--module', module, '--token', label, ...args], {
      stdio: [pin, 'inherit', 'inherit', accepted, folder],
      env: { SOFTHSM2_CONF: '/proc/self/fd/4/softhsm2.conf' },
    }),
  );
  accepted.destroy();
  const ended = once(child, 'exit');
  return {
    channel,
    process: child,
    pid: child.pid ?? -1,
    stop: async () => {
      channel.close();
      const [code]: unknown[] = await ended;
      return typeof code === 'number' ? code : null;
    },
  };
}

function withDescriptors<T>(hsm: SoftHsm, pinFile: string, start: (pin: number, folder: number) => T): T {
  const pin = openSync(pinFile, constants.O_RDONLY);
  const folder = openSync(hsm.folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return start(pin, folder);
  } finally {
    closeSync(pin);
    closeSync(folder);
  }
}
