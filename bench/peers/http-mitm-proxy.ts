import { once } from 'node:events';
import { mkdirSync, openSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { AUTHORIZATION, HOST, type StartPeer } from '../peer.ts';
import { freePort, start, stop } from '../processes.ts';

/** http-mitm-proxy on Node, inside a CONNECT tunnel. It has no authentication and no log. */
export const startHttpMitmProxy: StartPeer = async ({ folder, upstreamPort, certificates }) => {
  mkdirSync(folder);
  const port = await freePort();
  const log = join(folder, 'stderr.log');
  const program = join(import.meta.dirname, 'http-mitm-proxy-program.ts');
  const child = start(
    'proxy',
    [process.execPath, program, String(port), folder, certificates.authority, AUTHORIZATION],
    { stdio: ['ignore', 'pipe', openSync(log, 'w')] },
  );
  const ready = child.stdout ? await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]) : [];
  if (String(ready[0]) !== 'ready\n')
    throw new Error(`http-mitm-proxy did not start: ${readFileSync(log, 'utf8')}`);
  const { version } = createRequire(import.meta.url)('http-mitm-proxy/package.json');
  return {
    name: 'http-mitm-proxy',
    version,
    target: { port, roots: join(folder, 'certs', 'ca.pem'), tunnel: `${HOST}:${upstreamPort}` },
    pid: child.pid,
    stop: () => stop(child),
  };
};
