import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { SallyportError } from '../errors.ts';
import { contextOf } from './context.ts';
import { control } from './control.ts';
import { examples, group } from './help.ts';
import { note, printable, printResult } from './output.ts';
import { itemsOf, numberOf, partOf, textOf } from './reply.ts';

export function addIntegrity(root: Command): void {
  const integrity = group(
    root,
    'integrity',
    'Verify the stored policy; accept one that was restored on purpose',
  );
  integrity.addHelpText('after', examples('sallyport integrity check', 'sallyport integrity accept'));

  integrity
    .command('check')
    .description('Have the HSM verify every row now: names each that fails; exit code 1 then')
    .addHelpText('after', examples('sallyport integrity check', 'sallyport integrity check --json'))
    .action(async (_options, command: Command) => {
      const context = contextOf(command);
      const report = await control(context, 'GET', '/v1/integrity');
      printResult(context.json, report, () => describe(report));
      const failures = itemsOf(partOf(report, 'failures'), 'failures');
      if (failures.length === 0) return;
      throw new SallyportError(
        'integrity_failed',
        `${failures.length} ${failures.length === 1 ? 'thing is' : 'things are'} not as the vault left them: restore a backup, or where one was restored see "sallyport integrity accept --help".`,
      );
    });

  integrity
    .command('accept')
    .description('Take the database as it is for the right one, after a backup was restored on purpose')
    .option('--digest <hex>', 'the digest that "integrity check" shows: nothing else is accepted')
    .option('--yes', 'do not ask; goes with --digest')
    .addHelpText(
      'after',
      `
The HSM remembers which state of the database is the newest, so that an older one is found out. Where you put an older
one back yourself, this says so to the HSM. Every row must still be one that the vault wrote: a row that was edited is
never accepted. What was removed since (grants, agents, credentials) is then back: look through the lists afterwards.
${examples('sallyport integrity accept', 'sallyport integrity accept --yes --digest 5f0c…')}`,
    )
    .action(async (options: { digest?: string; yes?: boolean }, command: Command) => {
      const context = contextOf(command);
      if (options.yes === true && options.digest === undefined) {
        throw new SallyportError(
          'invalid_argument',
          '--yes goes with --digest: see "sallyport integrity check".',
        );
      }
      const digest =
        options.yes === true ? options.digest : await confirmed(contextOf(command), options.digest);
      const head = await control(context, 'POST', '/v1/integrity/accept', { digest });
      printResult(
        context.json,
        head,
        () =>
          `Accepted: the HSM now names state ${numberOf(head, 'counter')} (digest ${textOf(head, 'digest')}).`,
      );
      if (textOf(head, 'missing') !== '') note(printable(textOf(head, 'missing')));
    });
}

/** Shows what would be accepted, and has its digest typed unless it was given. */
async function confirmed(context: ReturnType<typeof contextOf>, given: string | undefined): Promise<string> {
  const report = await control(context, 'GET', '/v1/integrity');
  note(describe(report));
  if (!process.stdin.isTTY) {
    throw new SallyportError(
      'invalid_argument',
      `Nothing was accepted: nobody can be asked here. Give --yes --digest ${textOf(partOf(report, 'head'), 'digest')} if this database is the right one.`,
    );
  }
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  try {
    if (given === undefined)
      return (await reader.question('Type the digest to accept this database: ')).trim();
    const answer = await reader.question('Accept this database? Type yes: ');
    if (answer.trim() === 'yes') return given;
    throw new SallyportError('invalid_argument', 'Nothing was accepted.');
  } finally {
    reader.close();
  }
}

function describe(report: unknown): string {
  const head = partOf(report, 'head');
  const anchored = partOf(report, 'anchored');
  const failures = itemsOf(partOf(report, 'failures'), 'failures').map((each) =>
    textOf(each, 'table') === 'state'
      ? `state: ${textOf(each, 'reason')}`
      : `${textOf(each, 'table')} ${textOf(each, 'id')}: ${textOf(each, 'reason')}`,
  );
  const named = anchored ? `state ${numberOf(anchored, 'counter')}` : 'no state';
  return [
    ...failures,
    `${numberOf(report, 'rows')} rows verified; the database has state ${numberOf(head, 'counter')}, the HSM names ${named}.`,
    `Digest of the database: ${textOf(head, 'digest')}`,
    failures.length === 0 ? 'Everything is as the vault left it.' : `${failures.length} failed.`,
    ...(textOf(report, 'missing') === '' ? [] : [textOf(report, 'missing')]),
  ]
    .map(printable)
    .join('\n');
}
