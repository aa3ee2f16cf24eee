import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { CREDENTIAL, HOST, type StartPeer } from '../peer.ts';
import { freePort, start, stop } from '../processes.ts';

const BIN = fileURLToPath(new URL('../../src/cli/bin.cjs', import.meta.url));
const PACKAGE = fileURLToPath(new URL('../../package.json', import.meta.url));
const AGENT = 'bench';
const Agent = z.object({ token: z.string(), ca: z.string() });
const Ready = z.object({ event: z.literal('ready'), proxy: z.url() });

const SERVICE = {
  id: 'bench',
  hosts: [{ pattern: HOST }],
  auth: { scheme: 'header', inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }] },
  fields: [{ key: 'token', secret: true }],
};

/** One agent makes the whole load: by default it would be held to a rate that leaves others their share. */
const UNLIMITED = { tunnelBurst: 1_000_000, tunnelsPerSecond: 1_000_000, tunnelsPerAgent: 100_000 };

/** The real program, set up as a user does it: one worker, HSM, audit journal and all. */
export const startSallyport: StartPeer = async ({ folder, upstreamPort, certificates }) => {
  mkdirSync(folder);
  const data = join(folder, 'data');
  const command = (args: readonly string[], input = ''): string => {
    const result = spawnSync(process.execPath, [BIN, '--data', data, '--json', ...args], {
      input,
      encoding: 'utf8',
    });
    if (result.status !== 0) throw new Error(`sallyport ${args[0]}: ${result.stderr.trim()}`);
    return result.stdout;
  };
  command(['init']);
  const port = await freePort();
  const config = join(folder, 'serve.json');
  writeFileSync(config, JSON.stringify({ limits: UNLIMITED }));
  const serve = [
    ...['serve', '--config', config, '--workers', '1', '--api-listen', '127.0.0.1:0'],
    ...['--proxy-listen', `127.0.0.1:${port}`],
    ...['--upstream-ca', certificates.authority, '--upstream-allow', '127.0.0.0/8'],
    ...['--upstream-resolve', `${HOST}:443=127.0.0.1:${upstreamPort}`],
  ];
  const child = start('proxy', [process.execPath, BIN, '--data', data, '--json', ...serve], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await ready(child);
    const service = join(folder, 'service.json');
    writeFileSync(service, JSON.stringify(SERVICE));
    const agent = Agent.parse(JSON.parse(command(['agent', 'add', AGENT])));
    command(['service', 'add', '--file', service]);
    command(['credential', 'set', SERVICE.id, '--agent', AGENT], CREDENTIAL);
    return {
      name: 'sallyport',
      version: z.object({ version: z.string() }).parse(JSON.parse(readFileSync(PACKAGE, 'utf8'))).version,
      target: { port, roots: agent.ca, tunnel: `${HOST}:443`, user: `${AGENT}:${agent.token}` },
      pid: child.pid,
      stop: () => stop(child),
    };
  } catch (error) {
    await stop(child);
    throw error;
  }
};

/** Resolves when `serve` says that it is ready; what it says on stderr is shown. */
async function ready(child: ChildProcess): Promise<void> {
  if (!child.stdout) throw new Error('sallyport serve has no output');
  const [line]: string[] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'exit').then(() => Promise.reject(new Error('sallyport serve ended at once'))),
  ]);
  Ready.parse(JSON.parse(line ?? ''));
}
