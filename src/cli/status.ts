import type { Command } from 'commander';
import { contextOf } from './context.ts';
import { control } from './control.ts';
import { examples } from './help.ts';
import { printResult, properties, table } from './output.ts';
import { itemsOf, numberOf, partOf, textOf } from './reply.ts';

/** Failures that are named. */
const SHOWN = 3;
/** The exit code, where one is asked for, of a status that is not a good one. */
const NOT_WELL = 2;

export function addStatus(root: Command): void {
  root
    .command('status')
    .description('Show the running processes, the HSM and whether the stored policy is intact')
    .option(
      '--exit-code',
      `exit with ${NOT_WELL} where the HSM cannot be used or the stored policy is not intact`,
    )
    .addHelpText(
      'after',
      examples('sallyport status', 'sallyport --json status', 'sallyport status --exit-code'),
    )
    .action(async ({ exitCode = false }: { exitCode?: boolean }, command: Command) => {
      const context = contextOf(command);
      const status = await control(context, 'GET', '/v1/status');
      printResult(context.json, status, () => describe(status));
      const states = ['hsm', 'integrity'].map((part) => textOf(partOf(status, part), 'state'));
      if (exitCode && states.some((state) => state !== 'ok')) process.exitCode = NOT_WELL;
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
    ...describeHsm(partOf(status, 'hsm')),
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

/** The state, and what else is known in a word each; a sentence of the HSM's has a line of its own. */
function describeHsm(hsm: unknown): [string, string][] {
  const { error, ...facts } = Object(hsm);
  const words = Object.entries(facts).flatMap(([name, value]) => {
    if (name === 'state') return [String(value)];
    return typeof value === 'string' ? [`${name} ${value}`] : [];
  });
  const because: [string, string][] = typeof error === 'string' ? [['hsm error', error]] : [];
  return [['hsm', words.join(', ')], ...because];
}
