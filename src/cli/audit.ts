import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { contextOf, requireDataFolder } from './context.ts';
import { examples, group } from './help.ts';

export function addAudit(root: Command): void {
  const audit = group(root, 'audit', 'Read and check the audit journal');
  audit.addHelpText('after', examples('sallyport audit tail --follow', 'sallyport audit verify'));

  audit
    .command('tail')
    .description('Print what agents asked for and what was decided, oldest first')
    .option('-n, --lines <n>', 'only the last N (default: 20)', number)
    .option(
      '--all',
      'every request, and what the vault has noted between: administration, releases, refusals, alarms',
    )
    .option('-f, --follow', 'go on printing as requests come')
    .addHelpText(
      'after',
      examples(
        'sallyport audit tail -n 50',
        'sallyport audit tail --follow --json',
        'sallyport audit tail --all | grep hsm',
      ),
    )
    .action(async (options: { lines?: number; all?: boolean; follow?: boolean }, command: Command) => {
      const context = contextOf(command);
      requireDataFolder(context);
      const { printTail } = await import('./audit-tail.ts');
      await printTail(context, {
        last: options.all ? 'all' : (options.lines ?? 20),
        follow: options.follow === true,
      });
    });

  audit
    .command('verify')
    .description('Check the chain of every journal: says where it is broken; exit code 1 then')
    .addHelpText('after', examples('sallyport audit verify'))
    .action(async (_options, command: Command) => {
      const context = contextOf(command);
      requireDataFolder(context);
      const { printVerification } = await import('./audit-verify.ts');
      await printVerification(context, join(context.data, 'journal'));
    });
}

function number(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is not a whole number.');
}
