import { type Command, InvalidArgumentError } from 'commander';
import { contextOf } from './context.ts';
import { control } from './control.ts';
import { examples } from './help.ts';
import { listing } from './listing.ts';
import { note, printResult, table } from './output.ts';
import { itemsOf, numberOf, partOf, textOf } from './reply.ts';

/** Adds `credential versions`, `rollback` and `shred`. */
export function addVersions(credential: Command): void {
  credential
    .command('versions')
    .description('List the versions of a credential: which is in use, which can still be rolled back to')
    .argument('<service>')
    .option('--label <label>', 'which of its credentials', 'default')
    .addHelpText('after', examples('sallyport credential versions openai'))
    .action(async (service: string, { label }: { label: string }, command: Command) => {
      const context = contextOf(command);
      const { listVersions } = await import('../store/versions.ts');
      const path = `/v1/versions?${new URLSearchParams({ service, label })}`;
      const versions = await listing(context, path, (rows) => listVersions(rows, service, label));
      printResult(context.json, versions, () =>
        table(
          ['VERSION', 'STATE', 'KEK', 'SET', 'SHREDDED', 'CREDENTIAL'],
          itemsOf(versions, 'versions').map((each) => [
            String(numberOf(each, 'version')),
            textOf(each, 'state'),
            String(partOf(each, 'kek') ?? '-'),
            textOf(each, 'created'),
            String(partOf(each, 'shredded') ?? '-'),
            textOf(each, 'credential'),
          ]),
          'No versions.',
        ),
      );
    });

  credential
    .command('rollback')
    .description('Make the value of an earlier version the current one, as a new version: in force at once')
    .argument('<service>')
    .option('--label <label>', 'which of its credentials', 'default')
    .option('--to <version>', 'which version (default: the one before)', wholeNumber)
    .addHelpText(
      'after',
      examples(
        'sallyport credential rollback openai',
        'sallyport credential rollback github --label work --to 3',
      ),
    )
    .action(async (service: string, options: { label: string; to?: number }, command: Command) => {
      const context = contextOf(command);
      const reply = await control(context, 'POST', '/v1/versions/rollback', { service, ...options });
      printResult(
        context.json,
        reply,
        () =>
          `${service} "${options.label}" is at version ${numberOf(reply, 'version')}, with the value of version ${numberOf(reply, 'from')}.`,
      );
    });

  credential
    .command('shred')
    .description('Destroy the sealed value of one earlier version')
    .argument('<id>', 'id of the credential: see "sallyport credential list"')
    .requiredOption('--version <n>', 'which version; not the one in use', wholeNumber)
    .addHelpText('after', examples('sallyport credential shred crd_2vKx --version 3'))
    .action(async (id: string, { version }: { version: number }, command: Command) => {
      const context = contextOf(command);
      const reply = await control(context, 'POST', `/v1/credentials/${encodeURIComponent(id)}/shred`, {
        version,
      });
      printResult(
        context.json,
        reply,
        () => `Shredded version ${version} of ${id}: its row holds nothing now.`,
      );
      note(
        `A backup from before still holds the sealed value: that is beyond opening once ${textOf(reply, 'kek')} is destroyed ("sallyport hsm rotate", then "hsm retire ${textOf(reply, 'kek')}").`,
      );
    });
}

function wholeNumber(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is not a version: a whole number from 1 on.');
}
