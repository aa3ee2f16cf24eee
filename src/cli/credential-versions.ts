import { type Command, InvalidArgumentError } from 'commander';
import { contextOf } from './context.ts';
import { control } from './control.ts';
import { examples } from './help.ts';
import { listing } from './listing.ts';
import { note, printResult, table } from './output.ts';
import { flagOf, itemsOf, numberOf, partOf, textOf } from './reply.ts';
import { completeness, describeHsmKeys, describeWhatIsLeft } from './shredding.ts';
import { isId, WHICH, whichCredential } from './which-credential.ts';

/** Adds `credential versions`, `rollback` and `shred`. */
export function addVersions(credential: Command): void {
  credential
    .command('versions')
    .description(
      'List the versions of a credential: which is in use, which can still be rolled back to, which are shredded for good',
    )
    .argument('<credential>', `${WHICH}; a removed one by its id`)
    .option('--label <label>', "which of the service's credentials", 'default')
    .addHelpText(
      'after',
      `
COMPLETE: a shredded version cannot be opened from a backup either once every KEK that ever wrapped its data key is
destroyed ("hsm retire"). It names those that the token still holds; a backup of the token holds them too.
${examples('sallyport credential versions openai', 'sallyport credential versions crd_2vKx')}`,
    )
    .action(async (which: string, { label }: { label: string }, command: Command) => {
      const context = contextOf(command);
      const { listVersions } = await import('../store/versions.ts');
      const named = isId(which) ? { id: which } : { service: which, label };
      const path = `/v1/versions?${new URLSearchParams(named)}`;
      const versions = await listing(context, path, (rows) => listVersions(rows, named, undefined));
      printResult(context.json, versions, () =>
        table(
          ['VERSION', 'STATE', 'KEK', 'SET', 'SHREDDED', 'COMPLETE', 'CREDENTIAL'],
          itemsOf(versions, 'versions').map((each) => [
            String(numberOf(each, 'version')),
            textOf(each, 'state'),
            String(partOf(each, 'kek') ?? '-'),
            textOf(each, 'created'),
            String(partOf(each, 'shredded') ?? '-'),
            partOf(each, 'shredding') === null ? '-' : completeness(partOf(each, 'shredding')),
            textOf(each, 'credential'),
          ]),
          'No versions.',
        ),
      );
    });

  credential
    .command('rollback')
    .description(
      'Make the value of an earlier version the current one, as a new version with the public fields of then: in force at once',
    )
    .argument('<credential>', WHICH)
    .option('--label <label>', "which of the service's credentials", 'default')
    .option('--to <version>', 'which version (default: the one before)', wholeNumber)
    .addHelpText(
      'after',
      examples(
        'sallyport credential rollback openai',
        'sallyport credential rollback github --label work --to 3',
      ),
    )
    .action(async (which: string, { to, ...options }: { label: string; to?: number }, command: Command) => {
      const context = contextOf(command);
      const { service, label } = isId(which)
        ? await whichCredential(context, which, options.label)
        : { service: which, label: options.label };
      const body = { service, label, ...(to !== undefined && { to }) };
      const reply = await control(context, 'POST', '/v1/versions/rollback', body);
      printResult(context.json, reply, () => describeRollback(reply));
    });

  credential
    .command('shred')
    .description('Destroy the sealed value of one earlier version')
    .argument('<credential>', WHICH)
    .option('--label <label>', "which of the service's credentials", 'default')
    .requiredOption('--version <n>', 'which version; not the one in use', wholeNumber)
    .addHelpText(
      'after',
      `
Its row is emptied at once. Copies in backups stay openable until every KEK that ever wrapped its data key is destroyed;
this names them. A key that was born in the HSM is destroyed at once.
${examples('sallyport credential shred openai --version 3', 'sallyport credential shred crd_2vKx --version 3')}`,
    )
    .action(async (which: string, options: { label: string; version: number }, command: Command) => {
      const context = contextOf(command);
      const { version } = options;
      const id = isId(which) ? which : (await whichCredential(context, which, options.label)).id;
      const reply = await control(context, 'POST', `/v1/credentials/${encodeURIComponent(id)}/shred`, {
        version,
      });
      printResult(context.json, reply, () => {
        const key = partOf(reply, 'hsmKey');
        const keys = describeHsmKeys(typeof key === 'string' ? [key] : [], reply);
        return `Shredded version ${version} of ${id}: its row holds nothing now.${keys}`;
      });
      note(describeWhatIsLeft(reply));
    });
}

function describeRollback(reply: unknown): string {
  const fields = Object.entries(Object(partOf(reply, 'publicFields'))).map(
    ([name, value]) => `${name}=${value}`,
  );
  const restored = flagOf(reply, 'fieldsChanged') ? ` and its public fields (${fields.join(' ')})` : '';
  return `${textOf(reply, 'service')} "${textOf(reply, 'label')}" is at version ${numberOf(reply, 'version')}, with the value of version ${numberOf(reply, 'from')}${restored}.${describeOutdated(reply)}`;
}

/** The earlier versions that a new one has pushed out; empty where it has none. */
export function describeOutdated(reply: unknown): string {
  const outdated = itemsOf(partOf(reply, 'shredded'), 'shredded');
  if (outdated.length === 0) return '';
  const which = outdated.length === 1 ? `Version ${outdated[0]} was` : `Versions ${outdated.join(', ')} were`;
  return ` ${which} shredded: older than those that are kept (keepVersions).`;
}

function wholeNumber(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is not a version: a whole number from 1 on.');
}
