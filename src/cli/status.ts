import type { Command } from 'commander';
import { contextOf } from './context.ts';
import { control } from './control.ts';
import { examples } from './help.ts';
import { printResult, properties, table } from './output.ts';
import { itemsOf, numberOf, partOf, textOf } from './reply.ts';

/** Failures that are named. */
const SHOWN = 3;

export function addStatus(root: Command): void {
  root
    .command('status')
    .description('Show the running processes, the HSM and whether the stored policy is intact')
    .addHelpText('after', examples('sallyport status', 'sallyport --json status'))
    .action(async (_options, command: Command) => {
      const context = contextOf(command);
      const status = await control(context, 'GET', '/v1/status');
      printResult(context.json, status, () => describe(status));
    });
}

function describe(status: unknown): string {
  const processes = table(
    ['PROCESS', 'NAME', 'PID', 'UID', 'ISOLATION'],
    itemsOf(partOf(status, 'processes'), 'processes').map((each) => [
      textOf(each, 'kind'),
      textOf(each, 'name'),
      String(numberOf(each, 'pid')),
      String(numberOf(each, 'uid')),
      textOf(each, 'isolation'),
    ]),
    'No processes.',
  );
  const integrity = partOf(status, 'integrity');
  const failures = itemsOf(partOf(integrity, 'failures'), 'failures');
  const facts = properties([
    ['version', textOf(status, 'version')],
    ['isolation', textOf(status, 'isolation')],
    ['hsm', describeHsm(partOf(status, 'hsm'))],
    ['integrity', [textOf(integrity, 'state'), ...describeFailures(failures)].join('; ')],
    ...itemsOf(partOf(status, 'missingKeks'), 'missingKeks').map((each): [string, string] => [
      'missing',
      `${textOf(each, 'kek')}, which ${itemsOf(partOf(each, 'rows'), 'rows').length} rows need: see "sallyport integrity check"`,
    ]),
    ['policy revision', String(numberOf(status, 'revision'))],
  ]);
  return `${facts}\n\n${processes}`;
}

/** The first few: there can be as many as rows. */
function describeFailures(failures: readonly unknown[]): string[] {
  const first = failures
    .slice(0, SHOWN)
    .map((each) => `${textOf(each, 'table')} ${textOf(each, 'id')}: ${textOf(each, 'reason')}`);
  const more = failures.length - first.length;
  return more > 0 ? [...first, `and ${more} more: see "sallyport integrity check"`] : first;
}

function describeHsm(hsm: unknown): string {
  return Object.entries(Object(hsm))
    .filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value))
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(', ');
}
