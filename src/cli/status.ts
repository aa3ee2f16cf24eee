import type { Command } from 'commander';
import { contextOf } from './context.ts';
import { control } from './control.ts';
import { examples } from './help.ts';
import { printResult, properties, table } from './output.ts';

export function addStatus(root: Command): void {
  root
    .command('status')
    .description('Show the running processes, the HSM and whether the stored policy is intact')
    .addHelpText('after', examples('sallyport status', 'sallyport --json status'))
    .action(async (_options, command: Command) => {
      const context = contextOf(command);
      const { StatusReply } = await import('./replies.ts');
      const status = StatusReply.parse(await control(context, 'GET', '/v1/status'));
      printResult(context.json, status, () => describe(status));
    });
}

function describe(status: import('./replies.ts').StatusReply): string {
  const processes = table(
    ['PROCESS', 'NAME', 'PID', 'UID', 'ISOLATION'],
    status.processes.map((each) => [
      each.kind,
      each.name,
      String(each.pid),
      String(each.uid),
      each.isolation,
    ]),
    'No processes.',
  );
  const facts = properties([
    ['version', status.version],
    ['isolation', status.isolation],
    ['hsm', describeHsm(status.hsm)],
    ['integrity', [status.integrity.state, ...status.integrity.failures].join('; ')],
    ['policy revision', String(status.revision)],
  ]);
  return `${facts}\n\n${processes}`;
}

function describeHsm(hsm: Record<string, unknown>): string {
  const shown = Object.entries(hsm).filter(([, value]) =>
    ['string', 'number', 'boolean'].includes(typeof value),
  );
  return shown.map(([name, value]) => `${name} ${String(value)}`).join(', ');
}
