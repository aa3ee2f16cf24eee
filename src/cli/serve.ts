import type { Command } from 'commander';
import { SallyportError } from '../errors.ts';
import { contextOf, requireDataFolder } from './context.ts';
import { PIN_REFUSED } from './failure.ts';
import { examples } from './help.ts';
import { note, written } from './output.ts';
import { type Listening, noteListening } from './proxy-url.ts';
import type { ServeFlags } from './serve-options.ts';

export function addServe(root: Command): void {
  root
    .command('serve')
    .description('Run keyholder, vault and proxy workers in the foreground')
    .option('--config <file>', 'settings as JSON; flags override them')
    .option('--proxy-listen <host:port>', 'where agents connect (default: 127.0.0.1:7080)')
    .option(
      '--proxy-tls-listen <host:port>',
      'where agents connect with TLS, from other machines (default: nowhere)',
    )
    .option(
      '--proxy-tls-cert <file>',
      "PEM certificate chain of that listener (default: one of the proxy's own authority)",
    )
    .option('--proxy-tls-key <file>', 'PEM private key of --proxy-tls-cert')
    .option('--proxy-tls-name <name...>', "names by which agents reach it (default: this machine's)")
    .option('--api-listen <host:port>', 'where the management API listens (default: 127.0.0.1:7070)')
    .option('--workers <n>', 'proxy workers (default: one per core, at most 4)')
    .option('--keyholders <n>', 'processes that talk to the HSM (default: 1)')
    .option(
      '--keyholder-user <name>',
      'user for the process that talks to a given token, with its groups, where root starts serve (default: root)',
    )
    .option('--isolation <kind>', 'auto, uid, bubblewrap, copy or none (default: auto)')
    .option('--pin-file <file>', 'file with the PIN (default: the systemd credential, else what init noted)')
    .option('--upstream-ca <file>', "PEM added to the system's roots when servers are verified")
    .option('--upstream-resolve <mapping...>', "HOST:PORT=ADDRESS:PORT, like curl's --connect-to")
    .option('--upstream-allow <cidr...>', 'private addresses that may be dialled; otherwise none is')
    .option(
      '--upstream-proxy <url>',
      "http://[USER@]HOST:PORT: the company's proxy that leads out (default: none)",
    )
    .option('--upstream-proxy-password-file <file>', 'file with the password of that user')
    .addHelpText(
      'after',
      `
SIGTERM and Ctrl-C drain: requests in hand are finished, then everything ends. Exit code ${PIN_REFUSED}: the token refused the PIN,
which it will again; tokens lock after a few wrong ones, so let nothing start it again then.
${examples(
  'sallyport serve',
  'sallyport serve --workers 2 --proxy-tls-listen 0.0.0.0:7443 --proxy-tls-name proxy.example.com',
  'sallyport serve --upstream-resolve api.test:443=127.0.0.1:8443 --upstream-allow 127.0.0.0/8',
)}`,
    )
    .action(async (flags: ServeFlags, command: Command) => {
      const context = contextOf(command);
      requireDataFolder(context);
      const { serveOptions } = await import('./serve-options.ts');
      const { startSupervisor } = await import('../supervisor/supervisor.ts');
      const stop = stopSignal();
      const running = await Promise.race([
        startSupervisor(await serveOptions(context.data, flags)),
        stop.then(stoppedEarly),
      ]);
      const listening = {
        proxy: url('http', running.proxy),
        ...(running.proxyTls && { proxyTls: url('https', running.proxyTls) }),
        api: url('http', running.api),
      };
      const forget = noteListening(context.data, listening);
      if (context.json) process.stdout.write(`${JSON.stringify({ event: 'ready', ...listening })}\n`);
      else process.stdout.write(`Sallyport is ready: ${describe(listening)}\n`);
      const keptAlive = setInterval(() => {}, 60_000);
      try {
        const signal = await Promise.race([stop, running.failed]);
        note(`sallyport: ${signal}: finishing the requests in hand`);
        await running.drain();
      } finally {
        clearInterval(keptAlive);
        forget();
      }
      await written(process.stderr);
      process.exit(0); // Whatever still holds the loop is of no more use.
    });
}

/** Resolves at the first signal to end; later ones change nothing, whoever else got them too. */
function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, resolve);
  });
}

function stoppedEarly(signal: NodeJS.Signals): never {
  throw new SallyportError('draining', `Stopped by ${signal} before it was ready.`);
}

function describe({ proxy, proxyTls, api }: Listening): string {
  return [`proxy ${proxy}`, ...(proxyTls === undefined ? [] : [`with TLS ${proxyTls}`]), `API ${api}`].join(
    ', ',
  );
}

function url(scheme: 'http' | 'https', { host, port }: { host: string; port: number }): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
