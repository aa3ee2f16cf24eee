import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PROGRAM_FOLDER } from './children.ts';
import { checkDataFolder, lockDataFolder, probeListener } from './data-folder.ts';
import { closeInherited, raiseDescriptorLimit } from './descriptors.ts';
import { hardenProcess } from './hardening.ts';
import { assignOwnership } from './identity.ts';
import { chooseIsolation } from './isolation/choose.ts';
import { keyholderUser, RUNS_AS_ROOT } from './keyholder-user.ts';
import type { ServeOptions } from './options.ts';
import { checkPinPermissions } from './permissions.ts';
import { Rendezvous } from './rendezvous.ts';
import { Supervision } from './supervision.ts';
import { swapInTheClear } from './swap.ts';
import type { Listeners } from './vault-start.ts';

export interface Running extends Listeners {
  /** Ends everything in order: workers finish what they carry, then the vault, then the keyholder. */
  drain(): Promise<void>;
  /** Rejects when the processes cannot be kept running. */
  readonly failed: Promise<never>;
}

/**
 * Starts keyholder, vault and workers and keeps them running. It holds no secret: it opens the PIN's file without
 * reading it and never reads from the channels that it hands out. Resolves when every worker serves. Throws
 * SallyportError with the reason, having ended whatever it started.
 */
export async function startSupervisor(options: ServeOptions): Promise<Running> {
  closeInherited();
  const keyholder = keyholderUser(options);
  for (const odd of [
    ...checkDataFolder(options.data),
    ...checkPinPermissions(options.pinFile, options.data),
  ]) {
    warn(odd);
  }
  const lock = await lockDataFolder(options.data);
  const proxy = { ...options.proxyListen, port: await probeListener(options.proxyListen, 'proxy') };
  const tls = options.proxyTls?.listen;
  const proxyTls = tls === undefined ? null : { ...tls, port: await probeListener(tls, 'TLS proxy') };
  const api = { ...options.apiListen, port: await probeListener(options.apiListen, 'API') };
  hardenProcess();
  for (const lack of [raiseDescriptorLimit(), swapInTheClear()]) if (lack !== undefined) warn(lack);
  assignOwnership(options.data);
  const run = join(options.data, 'run');
  const hadRun = existsSync(run);
  const isolation = chooseIsolation(options.isolation, {
    node: process.execPath,
    program: PROGRAM_FOLDER,
    keyholder,
    data: options.data,
  });
  if (isolation.uid('keyholder') === 0) warn(RUNS_AS_ROOT);
  const owner = isolation.uid('vault');
  const rendezvous = await Rendezvous.open(join(options.data, 'vault'), owner);
  const supervision = new Supervision(options, isolation, rendezvous, { proxy, proxyTls, api });
  try {
    await supervision.start();
  } catch (error) {
    await supervision.abandon();
    if (!hadRun) rmSync(run, { recursive: true, force: true }); // the copy of node, made for this start
    rendezvous.close();
    lock.close();
    throw error;
  }
  return {
    proxy,
    proxyTls,
    api,
    failed: supervision.failed,
    drain: async () => {
      await supervision.drain();
      rendezvous.close();
      lock.close();
    },
  };
}

function warn(sentence: string): void {
  process.stderr.write(`sallyport: ${sentence}\n`);
}
